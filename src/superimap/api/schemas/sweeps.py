"""Schemas of sweeps: what to read of a mailbox's history, and how far it is."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from superimap.api.schemas.common import Number, RequestBody
from superimap.api.schemas.deliveries import Moment
from superimap.db.models import Sweep, SweepMail
from superimap.domain.sweeps import MAX_MAILS, SweepCause, SweepDirection, SweepState


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("must have printable characters only")
    return name


_Folder = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_printable)]


class NewSweep(RequestBody):
    """A sweep to create. All fields are optional; without `since` and `until` all mail is swept."""

    model_config = ConfigDict(
        extra="forbid",  # a typo must not sweep the whole mailbox
        json_schema_extra={
            "examples": [{"since": "2026-06-01T00:00:00Z", "limit": 500, "direction": "newest"}]
        },
    )

    since: Moment | None = Field(
        None, description="Only mails received at this time or later (INTERNALDATE)."
    )
    until: Moment | None = Field(None, description="Only mails received before this time.")
    folder: _Folder | None = Field(
        None, description="Name of the folder; without it, the one that is watched."
    )
    limit: Number = Field(None, ge=1, le=MAX_MAILS, description="Maximum number of mails to send.")
    direction: SweepDirection = Field(
        SweepDirection.NEWEST, description="`newest`: latest mail first. `oldest`: earliest first."
    )
    again: bool = Field(False, description="Send mails again that had their webhook.")
    dry_run: bool = Field(False, description="Only count; nothing is read in full, sent or recorded.")


class SweepOut(BaseModel):
    """A sweep. Its counts are exact as of the last batch."""

    id: int
    state: SweepState
    cause: SweepCause = Field(
        description="`requested`: it was created by a request. `connected`: the mailbox was connected, and "
        "`history_days` of its mail are read."
    )
    reason: str | None = Field(description="What the sweep waits for, or why it has ended.")
    since: datetime | None
    until: datetime | None
    folder: str | None = Field(description="Null for the watched folder.")
    limit: int | None
    direction: SweepDirection
    again: bool
    dry_run: bool
    total: int | None = Field(description="Mails to look at, by the search; null until it has been done.")
    done: int = Field(description="Mails that were looked at.")
    sent: int = Field(description="Webhooks that were recorded; with `dry_run`, those that would have been.")
    known: int = Field(description="Mails that had their webhook, or are copies of such mails.")
    skipped: int = Field(description="Mails without a webhook by a rule, such as those that are too big.")
    unreadable: int = Field(
        description="Mails that the mail server could not hand over so far; `GET …/sweeps/{id}` lists them."
    )
    failing_since: datetime | None = Field(
        description="Since when the sweep has failed without any progress; null while it does not."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class UnreadMailOut(BaseModel):
    """A mail that the mail server could not hand over."""

    model_config = ConfigDict(from_attributes=True)

    uid: int
    reason: str = Field(description="Why the last attempt failed, for people.")
    attempts: int
    first_failed_at: datetime
    next_attempt_at: datetime
    given_up_at: datetime | None = Field(
        description="Since when it is not tried any more: for two days it could not be read while others could."
    )


class SweepDetailOut(SweepOut):
    """A sweep, with the mails that could not be read."""

    unreadable_mails: list[UnreadMailOut] = Field(description="By UID; 1,000 at most.")


def sweep_detail(sweep: Sweep, unread: Iterable[SweepMail]) -> SweepDetailOut:
    """Return a sweep with the mails that could not be read."""
    mails = [UnreadMailOut.model_validate(each) for each in unread]
    return SweepDetailOut(**dict(sweep_out(sweep)), unreadable_mails=mails)


def sweep_out(sweep: Sweep) -> SweepOut:
    """Return a sweep as the API shows it."""
    names = SweepOut.model_fields.keys() - {"limit"}
    return SweepOut(limit=sweep.max_mails, **{name: getattr(sweep, name) for name in names})
