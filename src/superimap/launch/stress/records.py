"""What was observed in a stress test: mails, faults and samples, with times in seconds after its start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from superimap.launch.stress.plan import PARTNER_COUNT


@dataclass(slots=True)
class MailRecord:
    """One mail, from its scheduled moment to the last answer of a receiver."""

    sha1: str
    user: int
    scheduled: float
    generated: float
    recorded: float | None = None
    outcome: str | None = None
    """Outcome in `messages`; None if no row has its bytes."""
    state: str | None = None
    """State of its delivery."""
    accepted: list[float] = field(default_factory=list)
    """Times at which a POST that was answered by 2xx had arrived."""
    refused: list[float] = field(default_factory=list)
    """Times of POSTs that a receiver refused or reset on purpose."""
    webhook_ids: set[str] = field(default_factory=set)

    @property
    def partner(self) -> int:
        """The partner of the user."""
        return self.user % PARTNER_COUNT

    @property
    def latency(self) -> float | None:
        """Seconds from the scheduled moment to the first acceptance; None without one."""
        return min(self.accepted) - self.scheduled if self.accepted else None


@dataclass(slots=True)
class FaultRecord:
    """A fault, whom it affects, and when its effect was over.

    It affects the users of a `partner`, one `user`, or everybody if both are None. `recovered` is None as long as
    the effect lasts.
    """

    kind: str
    target: str
    start: float
    end: float
    user: int | None = None
    partner: int | None = None
    recovered: float | None = None

    @property
    def recovery(self) -> float | None:
        """Seconds from the end of the cause to the end of the effect."""
        return max(self.recovered - self.end, 0.0) if self.recovered is not None else None

    def affects(self, mail: MailRecord) -> bool:
        """Whether the mail was under way while the fault had an effect on its user."""
        if self.user is not None and self.user != mail.user:
            return False
        if self.partner is not None and self.partner != mail.partner:
            return False
        over = self.recovered if self.recovered is not None else float("inf")
        arrived = min(mail.accepted, default=float("inf"))
        return mail.scheduled <= over + GRACE_SECONDS and arrived >= self.start


GRACE_SECONDS = 2.0
"""Time after a recovery in which what had waited is still being worked on."""


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """Resources of a process at a moment; `life` counts its starts from 1. CPU in seconds since its start."""

    at: float
    process: str
    life: int
    resident_mib: float
    descriptors: int
    cpu_seconds: float
    tasks: int | None = None

    @property
    def kind(self) -> str:
        """The name without its number."""
        return self.process.rstrip("0123456789")


@dataclass(frozen=True, slots=True)
class StoreSample:
    """Size of the database, the queue and the write-ahead log at a moment."""

    at: float
    table_bytes: int
    wal_bytes: int
    queued: int


@dataclass(slots=True)
class RunRecord:
    """Everything that a verdict and a report are made of."""

    mails: Sequence[MailRecord]
    faults: Sequence[FaultRecord]
    samples: Sequence[ProcessSample] = ()
    stores: Sequence[StoreSample] = ()
    strikes: Sequence[tuple[float, int, str]] = ()
    """Misbehaviour of the mail server: time, user, kind."""
    forged: int = 0
    """Accepted webhooks whose signature or mail is unknown."""
    astray: int = 0
    """Accepted webhooks at another partner or with another tag."""
    other_rows: dict[str, int] = field(default_factory=dict)
    """Rows of `messages` beyond one for each mail, by outcome: a renumbered mailbox is read again."""
    settled_at: float | None = None
    """When the last delivery was settled; None if some was not."""
    ended_at: float = 0.0
    """When the observation ended."""
    unexpected_ends: Sequence[str] = ()
    """Processes that ended by themselves."""
