"""What must hold whatever struck? The ledger of what was put into mailboxes, against that of what was accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from superimap.testing import Received, verify_body_signature, verify_standard
from tests.support.mails import Ledger


@dataclass(frozen=True)
class Keys:
    """What a partner verifies by."""

    api_key: str
    secret: str


@dataclass
class Injected(Ledger):
    """The ledger of the injector, with the time of each mail (seconds since 1970)."""

    at: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What came of a fault. It held if nothing is `broken`."""

    fault: str
    mails: int
    lost: int
    duplicates: int
    most_duplicates: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    broken: tuple[str, ...]
    more: Mapping[str, float] = field(default_factory=dict)

    def line(self) -> dict[str, object]:
        """As it is printed."""
        shown = {name: value for name, value in vars(self).items() if name != "more"}
        return {**shown, **self.more, "broken": list(self.broken)}


def judge(
    fault: str,
    injected: Injected,
    accepted: list[Received],
    keys: Mapping[str, Keys],
    *,
    most_duplicates: int,
    also: Iterable[str] = (),
    more: Mapping[str, float] | None = None,
) -> Verdict:
    """The verdict on all that receivers answered by 2xx; `also` is what else was found broken."""
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
    return Verdict(
        fault,
        len(injected.sent),
        lost,
        duplicates,
        most_duplicates,
        percentile(waits, 50),
        percentile(waits, 95),
        percentile(waits, 100),
        tuple(broken),
        more or {},
    )


def latencies(injected: Injected, accepted: Iterable[Received], *, tags: Iterable[str] = ()) -> list[float]:
    """Milliseconds from the mailbox to the first acceptance, of all mails or of those of some tags, sorted."""
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
    """The value that so many per cent do not exceed; 0 of nothing."""
    return round(ordered[max(0, -(-len(ordered) * percent // 100) - 1)], 1) if ordered else 0.0


def _verifies(received: Received, keys: Mapping[str, Keys]) -> bool:
    """Under the keys of the partner to which the path belongs, both signatures hold."""
    of = keys.get(received.path)
    return (
        of is not None
        and verify_body_signature(received.json, of.api_key)
        and verify_standard(received.headers, received.body, of.secret)
    )
