"""Connections of partners to providers, users, and events of users."""

from datetime import datetime

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Computed,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, column_property, mapped_column

from superimap.db.models.base import (
    Base,
    FolderList,
    IdentityKey,
    SealedBytes,
    TimestampDefaultNow,
    one_of,
)
from superimap.db.models.partner import Partner
from superimap.db.models.provider import Provider
from superimap.domain.events import UserEventKind
from superimap.domain.providers import Tls
from superimap.domain.shards import SHARD_COUNT
from superimap.domain.users import Reauth, UserStatus


class Connection(Base):
    """A partner's use of a provider; for OAuth 2.0 it contains the client's credentials.

    `oauth2_tenant` is the provider's customer, where the token URL contains one. For an app-only provider the
    connection holds the access token of all its users; for other providers each user holds its own. No process
    requests tokens for this connection before `oauth2_pause_until`. `history_days` is that of users without one.
    `folders` are the selectors of the folders to watch of all users without a list of their own, changed last at
    `folders_since`; NULL: the usual folder.
    `change_events`: changes of mails are reported for users without a value of their own; changed last at
    `change_events_since`.
    """

    __tablename__ = "connections"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"))
    provider_id: Mapped[int] = mapped_column(ForeignKey(Provider.id), index=True)
    oauth2_client_id: Mapped[str | None]
    oauth2_client_secret: Mapped[SealedBytes | None]
    oauth2_tenant: Mapped[str | None]
    oauth2_access_token: Mapped[SealedBytes | None]
    oauth2_access_token_expires_at: Mapped[datetime | None]
    oauth2_access_token_life: Mapped[float | None] = mapped_column(Double)
    oauth2_token_version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    oauth2_lease_until: Mapped[datetime | None]
    oauth2_pause_until: Mapped[datetime | None]
    oauth2_pause_reason: Mapped[str | None]
    history_days: Mapped[int | None] = mapped_column(SmallInteger)
    folders: Mapped[FolderList | None]
    folders_since: Mapped[datetime | None]
    change_events: Mapped[bool | None]
    change_events_since: Mapped[datetime | None]
    created_at: Mapped[TimestampDefaultNow]

    __table_args__ = (UniqueConstraint("partner_id", "provider_id"), UniqueConstraint("id", "partner_id"))


class User(Base):
    """A person's mail account, named by the partner's tag. `connected_at` is set while credentials are complete.

    `imap_host`, `imap_port` and `imap_tls` are all set or all NULL; a provider's `host_by_user` uses them.
    `login_username` of an OAuth 2.0 user is the provider's name for the account, where it is not the `email`.
    `history_days` of mail are read when the user is connected; NULL: those of the connection, else none.
    `sign_in_email` is the account of the person who consents, where the mailbox `email` is shared or delegated.
    No session signs in before `retry_at`. `login_accepted` says that a login with the present credentials has
    succeeded, `refusals` how many were refused since then, the first of them at `refused_since`. `stalled_at` is
    set until a session is established again, independent of the status. `oauth2_access_token_life` is the whole
    lifetime of an access token in seconds. `oauth2_token_version` changes with the access token and with the
    grant. Until `oauth2_lease_until` only one process requests the next token. `last_proven_alive_at` is what was
    written of this user (`own_proof_at`), or a later vouch of the idler that watches it: place `vouch_slot` in the
    vouches of `vouched_by`.

    `folders` are the selectors of the folders to watch, changed last at `folders_since`; NULL: the connection's.
    `change_events`: changes of mails are reported; NULL: as for the connection. It was changed last at
    `change_events_since`.

    The password and the access token are deferred: the API may write them, but not read them.
    """

    __tablename__ = "users"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(BigInteger)
    connection_id: Mapped[int] = mapped_column(BigInteger)
    shard: Mapped[int] = mapped_column(SmallInteger, Computed(f"id % {SHARD_COUNT}", persisted=True))
    tag: Mapped[str]
    email: Mapped[str | None]
    login_username: Mapped[str | None]
    sign_in_email: Mapped[str | None]
    login_password: Mapped[SealedBytes | None] = mapped_column(deferred=True, deferred_raiseload=True)
    imap_host: Mapped[str | None]
    imap_port: Mapped[int | None] = mapped_column(Integer)
    imap_tls: Mapped[str | None]
    oauth2_refresh_token: Mapped[SealedBytes | None]
    oauth2_access_token: Mapped[SealedBytes | None] = mapped_column(deferred=True, deferred_raiseload=True)
    oauth2_access_token_expires_at: Mapped[datetime | None]
    oauth2_access_token_life: Mapped[float | None] = mapped_column(Double)
    oauth2_token_version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    oauth2_lease_until: Mapped[datetime | None]
    history_days: Mapped[int | None] = mapped_column(SmallInteger)
    enable_tracer: Mapped[bool] = mapped_column(server_default=text("false"))
    archived: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[TimestampDefaultNow]
    connected_at: Mapped[datetime | None]
    credentials_version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    status: Mapped[str] = mapped_column(server_default="not_connected")
    status_reason: Mapped[str | None]
    status_since: Mapped[TimestampDefaultNow]
    last_login_at: Mapped[datetime | None]
    last_email_at: Mapped[datetime | None]
    own_proof_at: Mapped[datetime | None] = mapped_column("last_proven_alive_at")
    vouched_by: Mapped[int | None] = mapped_column(BigInteger)
    vouch_slot: Mapped[int | None] = mapped_column(Integer)
    last_proven_alive_at: Mapped[datetime | None] = column_property(
        func.proven_alive_at(own_proof_at, vouched_by, vouch_slot, type_=TIMESTAMP(timezone=True))
    )
    stalled_at: Mapped[datetime | None]
    retry_at: Mapped[datetime | None]
    reauth: Mapped[str | None]
    login_accepted: Mapped[bool] = mapped_column(server_default=text("false"))
    refusals: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    refused_since: Mapped[datetime | None]
    folders: Mapped[FolderList | None]
    folders_since: Mapped[datetime | None]
    change_events: Mapped[bool | None]
    change_events_since: Mapped[datetime | None]

    __table_args__ = (
        ForeignKeyConstraint(
            ["connection_id", "partner_id"], ["connections.id", "connections.partner_id"], ondelete="CASCADE"
        ),
        UniqueConstraint("id", "partner_id"),
        one_of("status", UserStatus),
        one_of("imap_tls", Tls),
        CheckConstraint("num_nulls(imap_host, imap_port, imap_tls) IN (0, 3)", name="imap_server"),
        one_of("reauth", Reauth),
        Index(
            "uq_users_tag",
            "connection_id",
            text("lower(tag)"),
            unique=True,
            postgresql_where=text("NOT archived"),
        ),
        Index(
            "uq_users_email",
            "connection_id",
            text("lower(email)"),
            unique=True,
            postgresql_where=text("NOT archived"),
        ),
        Index("ix_users_live", "partner_id", postgresql_where=text("NOT archived")),
        Index("ix_users_listed", "connection_id", "email", "id"),
        Index("ix_users_tag", "connection_id", "tag"),
        Index("ix_users_tracer", "id", postgresql_where=text("enable_tracer AND NOT archived")),
        Index("ix_users_shard", "shard", postgresql_where=text("NOT archived AND connected_at IS NOT NULL")),
    )


class TroubledUser(Base):
    """A user whose status is one of `TROUBLED`, since when. A trigger of `users` writes it."""

    __tablename__ = "troubled_users"
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    partner_id: Mapped[int] = mapped_column(BigInteger)
    connection_id: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str]
    since: Mapped[datetime]

    __table_args__ = (
        Index("ix_troubled_users_cause", "status", "connection_id", "since"),
        Index("ix_troubled_users_partner", "partner_id", "status", "since"),
    )


class UserEvent(Base):
    """An event that the partner is notified of. `code` says why in one word, `reason` in a sentence."""

    __tablename__ = "user_events"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str]
    code: Mapped[str | None]
    reason: Mapped[str | None]
    at: Mapped[TimestampDefaultNow]

    __table_args__ = (
        ForeignKeyConstraint(["user_id", "partner_id"], ["users.id", "users.partner_id"], ondelete="CASCADE"),
        UniqueConstraint("id", "partner_id"),
        one_of("kind", UserEventKind),
        Index("ix_user_events_user", "user_id", text("id DESC")),
        Index("ix_user_events_at", "at"),
    )
