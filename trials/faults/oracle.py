"""The guarantees that hold under every fault: mails put into mailboxes compared with webhooks accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from superimap.testing import Received, verify_body_signature, verify_standard
from tests.support.mails import Ledger


@dataclass(frozen=True)
class PartnerKeys:
    """The keys with which a partner verifies webhooks."""

    api_key: str
    secret: str


@dataclass
class InjectedMails(Ledger):
    """The mails that were delivered, with the time of each (seconds since 1970)."""

    at: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FaultReport:
    """The result of a fault. No guarantee was broken if `broken` is empty."""

    fault: str
    mails: int
    lost: int
    duplicates: int
    most_duplicates: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    broken: tuple[str, ...]
    extra_figures: Mapping[str, float] = field(default_factory=dict)

    def line(self) -> dict[str, object]:
        """The fields of the JSON line."""
        shown = {name: value for name, value in vars(self).items() if name != "extra_figures"}
        return {**shown, **self.extra_figures, "broken": list(self.broken)}


def assess(
    fault: str,
    injected: InjectedMails,
    accepted: list[Received],
    keys: Mapping[str, PartnerKeys],
    *,
    most_duplicates: int,
    also: Iterable[str] = (),
    extra_figures: Mapping[str, float] | None = None,
) -> FaultReport:
    """Check every guarantee for the webhooks that got a 2xx; `also` lists violations found elsewhere."""
    lost, duplicates = len(injected.lost(accepted)), injected.duplicates(accepted)
    astray = injected.astray(accepted)
    forged = [each for each in accepted if not _verifies(each, keys)]
    broken = [
        *([f"I1: {lost} mails without a webhook"] if lost else []),
        *(["I2: a mail with several webhook-ids"] if injected.ids_per_mail(accepted) - {1} else []),
        *([f"I2: {duplicates} duplicates"] if duplicates > most_duplicates else []),
        *([f"I3: {len(forged)} webhooks whose signature is not their partner's"] if forged else []),
        *([f"I3/I4: {len(astray)} webhooks for no mail, or at the wrong partner"] if astray else []),
        *also,
    ]
    waits = latencies(injected, accepted)
    return FaultReport(
        fault,
        len(injected.sent),
        lost,
        duplicates,
        most_duplicates,
        percentile(waits, 50),
        percentile(waits, 95),
        percentile(waits, 100),
        tuple(broken),
        extra_figures or {},
    )


def latencies(
    injected: InjectedMails, accepted: Iterable[Received], *, tags: Iterable[str] = ()
) -> list[float]:
    """Milliseconds from the mailbox to the first acceptance, sorted, for all mails or for those of some tags."""
    first: dict[str, float] = {}
    for each in accepted:
        first.setdefault(each.json["sha1"], each.wall)
    some = frozenset(tags)
    return sorted(
        (first[sha1] - at) * 1000
        for sha1, at in injected.at.items()
        if sha1 in first and (not some or injected.sent[sha1][1] in some)
    )


def percentile(ordered: list[float], percent: int) -> float:
    """The value that `percent` per cent do not exceed; 0 for an empty list."""
    return round(ordered[max(0, -(-len(ordered) * percent // 100) - 1)], 1) if ordered else 0.0


def _verifies(received: Received, keys: Mapping[str, PartnerKeys]) -> bool:
    """Whether both signatures hold under the keys of the partner to which the path belongs."""
    of = keys.get(received.path)
    return (
        of is not None
        and verify_body_signature(received.json, of.api_key)
        and verify_standard(received.headers, received.body, of.secret)
    )
