"""Mails: the outcomes that a mail can have, and the table of rules that decides its outcome."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import NamedTuple


class MailOutcome(StrEnum):
    """Outcome of a mail that was seen."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    BEFORE_CONNECT = "before_connect"
    TOO_BIG = "too_big"
    TRACER = "tracer"
    OWN_MAIL = "own_mail"
    UNREADABLE = "unreadable"
    GONE = "gone"
    NO_WEBHOOK = "no_webhook"
    DEFERRED = "deferred"


REASONS: Mapping[MailOutcome, str] = {
    MailOutcome.DELIVERED: "a webhook was due; its record is purged",
    MailOutcome.DUPLICATE: "the same mail was seen before",
    MailOutcome.BEFORE_CONNECT: "arrived before the user was connected",
    MailOutcome.TOO_BIG: "larger than MAX_EMAIL_SIZE",
    MailOutcome.TRACER: "a tracer that SuperIMAP sent",
    MailOutcome.OWN_MAIL: "sent by the user, or a draft",
    MailOutcome.UNREADABLE: "the mail server failed for two days to hand it over, but handed over other mails",
    MailOutcome.GONE: "deleted or moved before it could be read",
    MailOutcome.NO_WEBHOOK: "the partner had no new_mail URL when it was seen",
    MailOutcome.DEFERRED: "the mail server could not hand it over yet; it is tried again",
}
"""The reason for each outcome, for a person to read, where `judge` gives no more precise one."""

FORGOTTEN = (
    "older than MESSAGE_RETENTION_DAYS and moved here: its webhook in another folder is not known any more"
)
FORGOTTEN_TOLERANCE = timedelta(days=1)
"""Time by which a server's clock, or the time zone of its dates, may be wrong."""

RULE_HEADERS: frozenset[bytes] = frozenset()
"""Lower-case names of further headers that rules of `judge` look at, such as `b"list-id"`."""

MailJudgement = tuple[MailOutcome, str | None]
"""An outcome and its reason. The reason is None where the row itself shows it (`duplicate_of`, the delivery)."""

_MAX_DATE_BYTES = 200
_EARLIEST_YEAR = 1980  # mail is hardly older; such a date is a zero
_OWN_LABELS = {"\\sent", "\\draft", "\\drafts"}


class GivenUp(NamedTuple):
    """A mail that the server failed to send for too long, although it could send others (`domain.deferrals`).

    `literal_size` is the size in bytes that the server announced last, if that is what was too big to read.
    """

    literal_size: int | None = None


class MailFacts(NamedTuple):
    """Everything that a mail is judged by. A fact that is not known yet has a value to which no rule applies.

    A named tuple because a frozen dataclass takes three times as long to construct, twice per mail.
    """

    connected_at: datetime
    max_size: int
    """MAX_EMAIL_SIZE, in bytes."""

    # Known from the metadata, before the mail is read.
    internal_date: datetime | None = None
    announced_size: int = 0
    """RFC822.SIZE, which some servers only estimate."""
    labels: tuple[str, ...] = ()
    """Gmail's labels."""
    by_date: bool = False
    """Whether only the date says that the mail is new: there is no cursor, or the mailbox was empty at first."""
    tolerance: timedelta = timedelta()
    """Time by which the server's clock, or the time zone of its dates, may be wrong."""
    forgotten_until: datetime | None = None
    """Set for a mail in one of several watched folders: of mails that arrived since the user was connected, and
    before this moment, it is not known any more whether they had a webhook in another folder."""
    given_up: GivenUp | None = None
    is_gone: bool = False
    """Whether the mailbox no longer holds the mail."""

    # Known after the mail is read.
    raw: bytes | None = None
    headers: Mapping[str, Sequence[bytes]] | None = None
    """Values by lower-case name, of the headers that the envelope needs and of RULE_HEADERS."""
    has_twin: bool = False
    """Whether a mail with the same bytes is in the same batch."""

    # Known to PostgreSQL only, in the statement that records the mail.
    is_copy: bool = False
    """Whether an earlier message of the user is the same mail and has a webhook."""
    is_tracer: bool = False
    """Whether it carries the token of a tracer that is not detected yet."""
    has_endpoint: bool = True
    """Whether the partner has a URL for new mail."""

    # Known of the user.
    has_tracers: bool = False
    """Whether tracers are sent to the user: then a mail that seems to be the user's own may be one."""

    @property
    def is_before_connect(self) -> bool:
        """Whether it arrived before the second in which the user was connected; IMAP dates have whole seconds.

        If the server does not know when, the mail's own Date decides. Without either, the mail counts as new. With
        a tolerance, it is new if one of the two dates says so.
        """
        date = self.internal_date or self._date
        if date is None:
            return False
        if self.tolerance:
            date = max(date, self._date or date)
        return date < self.connected_at.replace(microsecond=0) - self.tolerance

    @property
    def is_forgotten(self) -> bool:
        """Whether the mail may have had a webhook of which the record is deleted."""
        date = self.internal_date
        if date is None or self.forgotten_until is None:
            return False
        return self.connected_at - FORGOTTEN_TOLERANCE <= date < self.forgotten_until

    @property
    def _date(self) -> datetime | None:
        """The moment in the mail's first Date header; None if there is none, or it cannot be understood."""
        values = (self.headers or {}).get("date")
        if not values:
            return None
        try:
            date = parsedate_to_datetime(values[0][:_MAX_DATE_BYTES].decode("latin-1"))
        except (ValueError, TypeError, OverflowError):
            return None
        if date.year < _EARLIEST_YEAR:
            return None
        return date if date.tzinfo else date.replace(tzinfo=UTC)

    @property
    def size(self) -> int:
        """The size in bytes, from the most reliable source that is known."""
        if self.raw is not None:
            return len(self.raw)
        if self.given_up is not None and self.given_up.literal_size is not None:
            return self.given_up.literal_size
        return self.announced_size

    def __repr__(self) -> str:
        return f"<MailFacts of {self.size} bytes>"  # never the content


def judge(facts: MailFacts) -> MailJudgement:  # noqa: C901, PLR0911 - a table: the first rule that applies decides
    """Return the outcome of a mail and the reason for it. Total: every combination of facts has an outcome.

    The outcome is never DEFERRED: a mail whose facts cannot be read is not judged yet.

    A mail is judged three times. By its metadata: DELIVERED then means that the mail is to be read. After it is
    read: DELIVERED and DUPLICATE go to PostgreSQL. The statement that records the mail judges once more, in SQL,
    by facts that only the tables contain (`db.watching.intake`); a test compares its CASE with this function.
    """
    outcome = MailOutcome
    # A mail found by its UID is new however old its date is: it was moved or imported.
    if facts.by_date and facts.is_before_connect:
        moment = f"{facts.connected_at:%Y-%m-%d %H:%M:%S}Z"
        return outcome.BEFORE_CONNECT, f"{REASONS[outcome.BEFORE_CONNECT]} ({moment})"
    if facts.is_forgotten:
        return outcome.BEFORE_CONNECT, FORGOTTEN
    # A tracer is a mail to oneself, which Gmail may label Sent some time before Inbox. Only its content shows it.
    if facts.labels and is_own_mail(facts.labels) and (facts.raw is not None or not facts.has_tracers):
        is_tracer = facts.has_tracers and facts.is_tracer
        return (outcome.TRACER, None) if is_tracer else (outcome.OWN_MAIL, REASONS[outcome.OWN_MAIL])
    if facts.announced_size > facts.max_size:
        return outcome.TOO_BIG, f"{facts.announced_size} bytes; MAX_EMAIL_SIZE is {facts.max_size}"
    if facts.given_up is not None:
        if (size := facts.given_up.literal_size) is not None:
            return (
                outcome.TOO_BIG,
                f"the mail server announced {size} bytes; MAX_EMAIL_SIZE is {facts.max_size}",
            )
        return outcome.UNREADABLE, REASONS[outcome.UNREADABLE]
    if facts.is_gone:
        return outcome.GONE, REASONS[outcome.GONE]
    if facts.raw is not None and len(facts.raw) > facts.max_size:
        return outcome.TOO_BIG, f"{len(facts.raw)} bytes; MAX_EMAIL_SIZE is {facts.max_size}"
    # A rule that looks at `raw` or `headers` belongs here. Its headers are named in RULE_HEADERS.
    if facts.is_copy or (facts.has_twin and facts.has_endpoint):
        return outcome.DUPLICATE, None
    if facts.is_tracer:
        return outcome.TRACER, None
    if not facts.has_endpoint:
        return outcome.NO_WEBHOOK, None
    return outcome.DELIVERED, None


def is_own_mail(labels: Sequence[str]) -> bool:
    """Return whether Gmail's labels show a sent mail or a draft; a mail sent to oneself is in the inbox too."""
    lower = {label.lower() for label in labels}
    return not lower.isdisjoint(_OWN_LABELS) and "\\inbox" not in lower
