"""Verdict of a stress test: what is checked, what was measured, and whether the machine could tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from superimap.launch.stress import recovery
from superimap.launch.stress.accounting import MailTally, account, percentile
from superimap.launch.stress.plan import StressPlan
from superimap.launch.stress.records import MailRecord, RunRecord

EXPLAINED_WITHIN_SECONDS = 5.0
"""Longest time from a 2xx until a dispatcher has recorded it: the slowest receiver and one statement."""

MAILBOX_TARGETS = {"mailbox", "webhook"}


class CheckState(StrEnum):
    """Result of a check. NOT_JUDGED: the run is too short, or lacks what the check is about."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the verdict. `is_timing`: a machine that is too slow fails it without a fault of ours."""

    name: str
    state: CheckState
    measured: str
    limit: str
    is_timing: bool = False


@dataclass(frozen=True, slots=True)
class StressVerdict:
    """All checks, and the figures behind them. `exit_code`: 0 passed, 1 failed, 2 the machine was too slow."""

    checks: tuple[Check, ...]
    is_valid: bool
    account: MailTally
    outside: tuple[float, ...] = field(repr=False)
    """Latencies outside the windows of faults, ascending."""
    inside: tuple[float, ...] = field(repr=False)
    """Latencies within a window, ascending."""

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        failed = [check for check in self.checks if check.state is CheckState.FAILED]
        if any(not check.is_timing for check in failed):
            return 1
        if not self.is_valid:
            return 2
        return 1 if failed else 0

    @property
    def word(self) -> str:
        """The verdict in a word or two."""
        return {0: "passed", 1: "failed", 2: "machine too slow"}[self.exit_code]


def judge_run(plan: StressPlan, seen: RunRecord, resources: Iterable[Check] = ()) -> StressVerdict:
    """Judge a run; `resources` are the checks of memory, descriptors and the like."""
    counted, limits = account(seen.mails), plan.limits
    index = recovery.FaultIndex(seen.faults)
    outside, inside = recovery.split_by_faults(seen.mails, index)
    clean = [mail.latency for mail in outside if mail.latency is not None]
    delayed = [mail.latency for mail in inside if mail.latency is not None]
    validity = _check_generator(plan, seen.mails)
    checks = [
        _zero("lost", counted.lost, "mails that no receiver accepted"),
        _zero("forged", seen.forged, "accepted webhooks without valid signatures or mail"),
        _zero("wrong partner", seen.astray, "accepted webhooks at another partner or with another tag"),
        _zero("doubled", counted.doubled, "mails with two webhook ids"),
        _check_duplicates(seen, counted),
        _check_settled(plan, seen),
        _check_latency(clean, limits.latency),
        *_check_recoveries(plan, seen),
        _zero("unexpected ends", len(seen.unexpected_ends), "processes that ended by themselves"),
        *resources,
        validity,
    ]
    return StressVerdict(
        tuple(checks),
        validity.state is not CheckState.FAILED,
        counted,
        tuple(sorted(clean)),
        tuple(sorted(delayed)),
    )


def check_limit(
    name: str, measured: float | None, limit: float, *, unit: str, digits: int = 2, is_timing: bool = False
) -> Check:
    """Check that a measured value is at most `limit`; None is not judged."""
    bound = f"at most {limit:g} {unit}".rstrip()
    if measured is None:
        return Check(name, CheckState.NOT_JUDGED, "–", bound, is_timing)
    state = CheckState.PASSED if measured <= limit else CheckState.FAILED
    return Check(name, state, f"{measured:.{digits}f} {unit}".rstrip(), bound, is_timing)


def _zero(name: str, count: int, what: str) -> Check:
    state = CheckState.FAILED if count else CheckState.PASSED
    return Check(name, state, f"{count:,}", f"0 {what}")


def _check_duplicates(seen: RunRecord, counted: MailTally) -> Check:
    kills = [each for each in seen.faults if each.kind == "kill" and each.target.startswith("dispatcher")]
    wrong = recovery.unexplained_duplicates(seen.mails, kills, within=EXPLAINED_WITHIN_SECONDS)
    state = CheckState.FAILED if wrong else CheckState.PASSED
    measured = f"{wrong:,} of {counted.duplicates:,} unexplained"
    return Check("duplicates", state, measured, "only of POSTs in flight when a dispatcher was killed")


def _check_settled(plan: StressPlan, seen: RunRecord) -> Check:
    limit, name = plan.limits.settled, "settled"
    if seen.settled_at is None:
        return Check(name, CheckState.FAILED, "not everything", f"at most {limit:g} s after the last mail")
    last = max((mail.scheduled for mail in seen.mails), default=0.0)
    after = max(seen.settled_at - last, 0.0)
    state = CheckState.PASSED if after <= limit else CheckState.FAILED
    return Check(name, state, f"{after:.1f} s", f"at most {limit:g} s after the last mail", is_timing=True)


def _check_latency(clean: Sequence[float], limit: float) -> Check:
    p99 = percentile(clean, 0.99)
    return check_limit("latency p99 outside faults", p99, limit, unit="s", digits=3, is_timing=True)


def _check_recoveries(plan: StressPlan, seen: RunRecord) -> list[Check]:
    groups = (
        ("recovery of mailboxes", plan.limits.mailbox_recovery, MAILBOX_TARGETS),
        ("recovery of processes", plan.limits.recovery, None),
    )
    checks = []
    for name, limit, targets in groups:
        chosen = [each for each in seen.faults if (each.target in MAILBOX_TARGETS) is (targets is not None)]
        # A mailbox that was struck as the run ended has not had its time.
        open_ones = [each for each in chosen if each.recovered is None and each.end + limit <= seen.ended_at]
        longest = max((each.recovery for each in chosen if each.recovery is not None), default=None)
        if open_ones:
            bound = f"at most {limit:g} s"
            checks.append(Check(name, CheckState.FAILED, f"{len(open_ones)} without", bound, is_timing=True))
        else:
            checks.append(check_limit(name, longest, limit, unit="s", digits=1, is_timing=True))
    return checks


def _check_generator(plan: StressPlan, mails: Sequence[MailRecord]) -> Check:
    limits = plan.limits
    lags = [mail.generated - mail.scheduled for mail in mails]
    late = sum(lag > limits.lag for lag in lags)
    share = late / len(lags) if lags else 1.0
    state = CheckState.PASSED if share <= limits.late_share else CheckState.FAILED
    p99 = percentile(lags, 0.99)
    measured = f"{share:.1%} late, p99 {(p99 or 0) * 1000:.0f} ms".replace("%", " %")
    bound = (
        f"at most {limits.late_share:.0%}".replace("%", " %") + f" more than {limits.lag * 1000:.0f} ms late"
    )
    return Check("valid load", state, measured, bound, is_timing=True)
