"""The plan of one simulation: mails, faults and kills, all drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from trials.simulation.faults import ANY_COMMAND, ANY_FETCH, DAY, HOUR, MINUTE, Act, BadMail, Outage

NEVER = float("inf")
_OUTAGES: tuple[tuple[frozenset[str], tuple[Act, ...]], ...] = (
    (frozenset({"login"}), ANY_COMMAND[2:]),  # a refusal would be about the credentials
    (frozenset({"open"}), ANY_COMMAND),
    (frozenset({"search"}), ANY_COMMAND),
    (frozenset({"metadata"}), ANY_FETCH),
    (frozenset({"body"}), ANY_FETCH),
    (frozenset({"metadata", "body"}), ANY_FETCH),
    (frozenset({"open", "search", "metadata", "body", "other"}), ANY_COMMAND),
)


@dataclass(frozen=True)
class Mail:
    """A mail that arrives at `at`, in seconds. It can be read from `readable_at` on."""

    at: float
    raw: bytes
    readable_at: float


@dataclass
class Plan:
    """What happens in one simulation, by the seconds of the loop."""

    seed: int
    mails: list[Mail] = field(default_factory=list)
    bad_mails: list[BadMail] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    kills: list[tuple[float, float]] = field(default_factory=list)
    """The moments of kills, each with the seconds until the process is started again."""
    renumberings: list[float] = field(default_factory=list)
    """The moments at which the server changes UIDVALIDITY and all UIDs."""

    @property
    def is_hopeless(self) -> bool:
        """Whether a mail never becomes readable."""
        return any(mail.readable_at == NEVER for mail in self.mails)

    @property
    def settles_at(self) -> float:
        """The moment after which nothing happens any more but retries."""
        ends = [mail.at for mail in self.mails] + [mail.readable_at for mail in self.mails]
        ends += [outage.ends for outage in self.outages] + [at + pause for at, pause in self.kills]
        ends += self.renumberings
        return max(end for end in ends if end != NEVER)

    def well_since(self, at: float, seconds: float) -> float:
        """Return the first moment from `at` on that ends `seconds` without an outage, a kill or a renumbering."""
        spans = [(outage.begins, outage.ends) for outage in self.outages]
        spans += [(killed, killed + pause) for killed, pause in self.kills]
        spans += [(moment, moment) for moment in self.renumberings]
        for begins, ends in sorted(spans):
            if begins <= at + seconds and ends >= at:
                at = ends
        return at + seconds

    def outage_seconds(self, begin: float, end: float) -> float:
        """Return the seconds between two moments in which the server failed for everybody or no process ran."""
        spans = [(outage.begins, outage.ends) for outage in self.outages]
        spans += [(at, at + pause) for at, pause in self.kills]
        covered, last = 0.0, begin
        for first, until in sorted(spans):
            covered += max(0.0, min(until, end) - max(first, last))
            last = max(last, min(until, end))
        return covered


def draw(seed: int) -> Plan:
    """Draw the plan of a seed."""
    rng = random.Random(seed)
    plan = Plan(seed)
    span = rng.choice([HOUR, HOUR, 8 * HOUR, 8 * HOUR, 30 * HOUR])
    fails_for = [
        lambda: rng.uniform(1, 5 * MINUTE),
        lambda: rng.uniform(5 * MINUTE, 5 * HOUR),
        lambda: rng.uniform(5 * MINUTE, 5 * HOUR),
        lambda: rng.uniform(5 * HOUR, 46 * HOUR),
    ]
    is_hopeless = rng.random() < 0.1
    for number in range(rng.randint(1, 14)):
        at = rng.uniform(0.0, span)
        readable_at = 0.0
        if is_hopeless and number == 0:
            readable_at = NEVER
        elif rng.random() < 0.25:
            readable_at = at + rng.choice(fails_for)()
        _add_mail(plan, rng, at, number, readable_at)
    for number in range(14, 14 + rng.randint(0, 6) + is_hopeless):
        _add_mail(plan, rng, span * rng.uniform(1.0, 2.0), number, 0.0)
    for _ in range(rng.choice([0, 0, 1, 2, 4])):
        begins = rng.uniform(0.0, span * 1.2)
        kinds, acts = rng.choice(_OUTAGES)
        chosen = tuple(rng.sample(acts, rng.randint(1, len(acts))))
        length = min(rng.choice(fails_for)(), DAY)
        plan.outages.append(Outage(begins, begins + length, kinds, chosen))
    for _ in range(rng.choice([0, 1, 3, 12])):
        plan.kills.append((rng.uniform(0.0, span * 1.5), rng.choice([0.1, 5.0, 60.0, 20 * MINUTE])))
    if not is_hopeless and rng.random() < 0.25:
        plan.renumberings = sorted(rng.uniform(0.0, span * 1.2) for _ in range(rng.randint(1, 3)))
    plan.kills.sort()
    plan.mails.sort(key=lambda mail: mail.at)
    return plan


def _add_mail(plan: Plan, rng: random.Random, at: float, number: int, readable_at: float) -> None:
    """Add a mail, and its fault if it cannot be read at once."""
    raw = (
        f"From: fred@example.com\r\nSubject: {number}\r\nMessage-ID: <{number}.{plan.seed}@example.com>\r\n\r\n"
        f"mail {number} of {plan.seed}\r\n"
    ).encode()
    plan.mails.append(Mail(at, raw, max(at, readable_at)))
    if readable_at > at:
        # A mail whose metadata alone fail can be read without them, so that it is not hopeless.
        kinds = rng.choice(
            [{"body"}, {"metadata", "body"}, *([{"metadata"}] if readable_at != NEVER else [])]
        )
        acts = tuple(rng.sample(ANY_FETCH, rng.randint(1, 3)))
        plan.bad_mails.append(BadMail(raw, frozenset(kinds), acts, readable_at))
