"""Mailboxes with their cursors, and messages with their outcomes."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import (
    Base,
    DigestBytes,
    IdentityKey,
    TimestampDefaultNow,
    non_negative,
    one_of,
)
from superimap.domain.mails import MailOutcome


class Mailbox(Base):
    """A watched mailbox of a user with its cursor: all UIDs up to `last_uid` are recorded.

    `uid_validity` is the numbering that messages are recorded under, made of the server's UIDVALIDITY and of the
    number of times that its UIDs began again (`domain.numbering`). `last_mail_…` identify the last mail up to the
    cursor. `was_empty`: the numbering began with an empty mailbox, and no new mail has been seen in it.
    `restarts_paid_at`: when another restart no longer counts together with the earlier ones
    (`numbering.may_restart`).

    The mailbox of a user with the latest `opened_at` is the first or only watched one; its session waits there.
    `watched_since` is set while the mailbox is in the user's list of folders: mail from before is no news.

    `changes_seen_at` is the time of the last look for changes of mails, in the numbering `changes_uid_validity`;
    `changes_modseq` is the HIGHESTMODSEQ (RFC 7162) up to which changes are recorded.

    `account` is the name that the user signed in with, followed by a tab and the server if the person entered it,
    because UIDs are valid in one mail account only.
    """

    __tablename__ = "mailboxes"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    account: Mapped[str]
    name: Mapped[str]
    uid_validity: Mapped[int | None] = mapped_column(BigInteger)
    last_uid: Mapped[int | None] = mapped_column(BigInteger)
    last_internal_date: Mapped[datetime | None]
    server_uid_validity: Mapped[int | None] = mapped_column(BigInteger)
    restarts: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    was_empty: Mapped[bool] = mapped_column(server_default=text("false"))
    last_mail_uid: Mapped[int | None] = mapped_column(BigInteger)
    last_mail_message_id: Mapped[DigestBytes | None]
    last_mail_date: Mapped[datetime | None]
    last_mail_size: Mapped[int | None] = mapped_column(BigInteger)
    restarts_paid_at: Mapped[datetime | None]
    opened_at: Mapped[datetime | None]
    watched_since: Mapped[datetime | None]
    changes_seen_at: Mapped[datetime | None]
    changes_uid_validity: Mapped[int | None] = mapped_column(BigInteger)
    changes_modseq: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[TimestampDefaultNow]

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "partner_id"], ["users.id", "users.partner_id"], ondelete="CASCADE"),
        UniqueConstraint("user_id", "account", "name"),
        UniqueConstraint("id", "user_id", "partner_id"),
        non_negative("uid_validity"),
        non_negative("last_uid"),
    )


class Message(Base):
    """A mail that was seen, even if a rule skipped it. Contains ids, digests and the outcome, but no content.

    It was found `recording_milliseconds` before `created_at`, and `found_by` says how
    (`mail_stages.FOUND_BY_NUMBERS`). Both are null for mails from before version 0042.
    """

    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(BigInteger, Identity())
    partner_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    mailbox_id: Mapped[int] = mapped_column(BigInteger)
    uid_validity: Mapped[int] = mapped_column(BigInteger)
    uid: Mapped[int] = mapped_column(BigInteger)
    internal_date: Mapped[datetime | None]
    size: Mapped[int] = mapped_column(BigInteger)
    sha1: Mapped[DigestBytes | None]
    fingerprint: Mapped[DigestBytes | None]
    message_id: Mapped[str | None]
    outcome: Mapped[str]
    detail: Mapped[str | None]
    duplicate_of: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[TimestampDefaultNow]
    recording_milliseconds: Mapped[int | None] = mapped_column(Integer)
    found_by: Mapped[int | None] = mapped_column(SmallInteger)

    __table_args__ = (
        PrimaryKeyConstraint("id", "partner_id"),
        ForeignKeyConstraint(
            ["mailbox_id", "user_id", "partner_id"],
            ["mailboxes.id", "mailboxes.user_id", "mailboxes.partner_id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("mailbox_id", "uid_validity", "uid"),
        one_of("outcome", MailOutcome),
        non_negative("uid"),
        non_negative("uid_validity"),
        Index("ix_messages_user", "user_id", text("id DESC")),
        Index(
            "ix_messages_without_webhook",
            "user_id",
            "outcome",
            text("id DESC"),
            postgresql_where=text("outcome <> 'delivered'"),
        ),
        Index("ix_messages_sha1", "user_id", "sha1", postgresql_where=text("sha1 IS NOT NULL")),
        Index(
            "ix_messages_fingerprint",
            "user_id",
            "fingerprint",
            postgresql_where=text("fingerprint IS NOT NULL"),
        ),
        Index("ix_messages_created_at", "created_at", postgresql_using="brin"),
    )


class DeferredMail(Base):
    """A mail with the outcome `deferred`, and its attempts. Its final outcome deletes the row.

    `failing_seconds` is the time for which the server failed to hand it over although it could hand over others.
    `announced_size` is the size in bytes of a literal that was too large to be read. `found_by_date` says that the
    mailbox had no cursor when the mail was found.
    """

    __tablename__ = "deferred_mails"
    message_id: Mapped[int] = mapped_column(BigInteger)
    partner_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    mailbox_id: Mapped[int] = mapped_column(BigInteger)
    uid_validity: Mapped[int] = mapped_column(BigInteger)
    uid: Mapped[int] = mapped_column(BigInteger)
    found_by_date: Mapped[bool]
    first_failed_at: Mapped[TimestampDefaultNow]
    last_attempt_at: Mapped[TimestampDefaultNow]
    next_attempt_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    failing_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"))
    announced_size: Mapped[int | None] = mapped_column(BigInteger)
    last_error: Mapped[str | None]

    __table_args__ = (
        PrimaryKeyConstraint("message_id"),
        ForeignKeyConstraint(
            ["message_id", "partner_id"], ["messages.id", "messages.partner_id"], ondelete="CASCADE"
        ),
        UniqueConstraint("mailbox_id", "uid_validity", "uid"),
    )


class MailFlags(Base):
    """The known state of a mail whose changes are reported: its flags, separated by blanks.

    `absent_since`: the mail was absent at the last look. `is_gone`: it was reported as deleted or moved, or was
    absent at the first look, and is not looked at again.
    """

    __tablename__ = "mail_flags"
    message_id: Mapped[int] = mapped_column(BigInteger)
    partner_id: Mapped[int] = mapped_column(BigInteger)
    mailbox_id: Mapped[int] = mapped_column(BigInteger)
    uid_validity: Mapped[int] = mapped_column(BigInteger)
    uid: Mapped[int] = mapped_column(BigInteger)
    flags: Mapped[str]
    absent_since: Mapped[datetime | None]
    is_gone: Mapped[bool] = mapped_column(server_default=text("false"))

    __table_args__ = (
        PrimaryKeyConstraint("message_id"),
        ForeignKeyConstraint(
            ["message_id", "partner_id"], ["messages.id", "messages.partner_id"], ondelete="CASCADE"
        ),
        UniqueConstraint("mailbox_id", "uid_validity", "uid"),
    )
