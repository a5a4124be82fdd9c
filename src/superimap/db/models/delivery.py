"""Endpoints, deliveries (one webhook each) and attempts (one POST each)."""

import uuid
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from superimap.db.models.base import (
    Base,
    IdentityKey,
    SealedBytes,
    TimestampDefaultNow,
    one_of,
)
from superimap.db.models.partner import Partner
from superimap.domain.deliveries import Breaker, DeliveryState
from superimap.domain.events import EventKind


class Endpoint(Base):
    """Endpoint for a partner's webhooks of one kind. Without a URL no deliveries are created.

    `failures` counts consecutive failures; `failing_since` is the time of the first. `setbacks` counts how often
    the breaker opened or narrowed since it was last closed. Nothing is sent before `probe_at`.

    A disabled endpoint has `disabled_at`, and `gone` or `failing` in `disabled_reason`. Its deliveries stay
    pending, more can be created, and none is claimed. Enabling it or changing the URL resets these columns.
    """

    __tablename__ = "endpoints"
    id: Mapped[IdentityKey]
    partner_id: Mapped[int] = mapped_column(ForeignKey(Partner.id, ondelete="CASCADE"))
    kind: Mapped[str]
    url: Mapped[str | None]
    created_at: Mapped[TimestampDefaultNow]
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    failing_since: Mapped[datetime | None]
    breaker: Mapped[str] = mapped_column(server_default="closed")
    width: Mapped[int | None] = mapped_column(Integer)
    setbacks: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    probe_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("partner_id", "kind"),
        UniqueConstraint("id", "partner_id"),
        one_of("kind", EventKind),
        one_of("breaker", Breaker),
        CheckConstraint("url <> ''", name="url_not_blank"),
        Index(
            "ix_endpoints_troubled",
            "id",
            postgresql_where=text(
                "breaker <> 'closed' OR disabled_at IS NOT NULL OR failing_since IS NOT NULL"
            ),
        ),
    )


class Delivery(Base):
    """A webhook to send. Its id is the `webhook-id`. Its content is encrypted, and erased after the 2xx.

    With `event_id` the content is empty: the payload is built from that event, which contains no secret.

    `attempts_before` is the number of attempts before the last replay. The retry schedule counts from there. A
    delivery that is being sent is `pending` and has a `DeliveryLease`; the state `sending`, `lease_until`,
    `lease_token` and `holder` are written by dispatchers from before version 0035.
    """

    __tablename__ = "deliveries"
    id: Mapped[uuid.UUID] = mapped_column(Uuid)
    partner_id: Mapped[int] = mapped_column(BigInteger)
    endpoint_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    message_id: Mapped[int | None] = mapped_column(BigInteger)
    event_id: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    attempts_before: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    due_at: Mapped[TimestampDefaultNow]
    lease_until: Mapped[datetime | None]
    lease_token: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    holder: Mapped[int | None] = mapped_column(Integer)
    content: Mapped[SealedBytes | None]
    created_at: Mapped[TimestampDefaultNow]
    settled_at: Mapped[datetime | None]
    last_code: Mapped[int | None] = mapped_column(Integer)
    last_error: Mapped[str | None]

    __table_args__ = (
        # In this order, because ids increase with time and deliveries are listed by partner.
        PrimaryKeyConstraint("partner_id", "id"),
        ForeignKeyConstraint(
            ["endpoint_id", "partner_id"], ["endpoints.id", "endpoints.partner_id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(["user_id", "partner_id"], ["users.id", "users.partner_id"], ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["message_id", "partner_id"], ["messages.id", "messages.partner_id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["event_id", "partner_id"], ["user_events.id", "user_events.partner_id"], ondelete="CASCADE"
        ),
        one_of("state", DeliveryState),
        one_of("kind", EventKind),
        Index("ix_deliveries_due", "endpoint_id", "due_at", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_lease", "lease_until", postgresql_where=text("state = 'sending'")),
        Index("ix_deliveries_sending", "endpoint_id", postgresql_where=text("state = 'sending'")),
        Index("ix_deliveries_user", "user_id", "created_at"),
        Index("ix_deliveries_message", "message_id", postgresql_where=text("message_id IS NOT NULL")),
        Index("ix_deliveries_event", "event_id", postgresql_where=text("event_id IS NOT NULL")),
        Index(
            "ix_deliveries_erasable",
            "settled_at",
            postgresql_where=text("settled_at IS NOT NULL AND content IS NOT NULL"),
        ),
        # Pages of lists and of bulk changes, oldest or latest first (`DeliveryFilter.branches`).
        Index(
            "ix_deliveries_pending", "partner_id", "kind", "id", postgresql_where=text("state = 'pending'")
        ),
        Index(
            "ix_deliveries_ended",
            "partner_id",
            "state",
            "kind",
            "id",
            postgresql_where=text("state IN ('failed', 'cancelled')"),
        ),
        Index(
            "ix_deliveries_replayable",
            "partner_id",
            "state",
            "kind",
            "id",
            postgresql_where=text("state IN ('failed', 'cancelled') AND content IS NOT NULL"),
        ),
        Index("ix_deliveries_kind", "partner_id", "kind", "id", postgresql_where=text("kind <> 'new_mail'")),
        Index("ix_deliveries_settled", "settled_at", postgresql_where=text("settled_at IS NOT NULL")),
    )


class DeliveryLease(Base):
    """The right of one claim, known by its `token`, to send a delivery until `lease_until`.

    `holder` is the number of the claiming dispatcher; None if the dispatcher had no number then. Without foreign
    keys: a lease whose delivery is gone expires.
    """

    __tablename__ = "delivery_leases"
    endpoint_id: Mapped[int] = mapped_column(BigInteger)
    delivery_id: Mapped[uuid.UUID] = mapped_column(Uuid)
    lease_until: Mapped[datetime]
    token: Mapped[uuid.UUID] = mapped_column(Uuid)
    holder: Mapped[int | None] = mapped_column(Integer)

    __table_args__ = (PrimaryKeyConstraint("endpoint_id", "delivery_id"),)


class Attempt(Base):
    """One POST and its result.

    `body` is the start of the answer, at most 1,024 characters. Encrypted, because some answers echo the mail.
    """

    __tablename__ = "attempts"
    id: Mapped[uuid.UUID] = mapped_column(Uuid)
    partner_id: Mapped[int] = mapped_column(BigInteger)
    delivery_id: Mapped[uuid.UUID] = mapped_column(Uuid)
    number: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[TimestampDefaultNow]
    milliseconds: Mapped[int] = mapped_column(Integer)
    code: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None]
    body: Mapped[SealedBytes | None]

    __table_args__ = (
        PrimaryKeyConstraint("id"),
        ForeignKeyConstraint(
            ["delivery_id", "partner_id"], ["deliveries.id", "deliveries.partner_id"], ondelete="CASCADE"
        ),
        Index("ix_attempts_delivery", "delivery_id", "number"),
    )
