"""Properties of the stress test's pure parts: schedule, slopes, thinning, accounts, recoveries and verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superimap.charts import thinning
from superimap.launch.stress import recovery
from superimap.launch.stress.accounting import account, percentile
from superimap.launch.stress.plan import StressPlan, plan_faults, schedule_mails
from superimap.launch.stress.progress import BAR_WIDTH_CHARACTERS, describe
from superimap.launch.stress.records import FaultRecord, MailRecord, RunRecord
from superimap.launch.stress.run import Progress
from superimap.launch.stress.slopes import pooled_slope, theil_sen, thin
from superimap.launch.stress.verdict import judge_run

times = st.floats(0, 600, allow_nan=False)
points = st.lists(st.tuples(times, times), max_size=200)
plans = st.builds(
    StressPlan,
    seconds=st.floats(1, 1200),
    emails_per_minute=st.floats(1, 600),
    users=st.integers(1, 50),
    has_kills=st.booleans(),
    has_freezes=st.booleans(),
    restart_every=st.sampled_from([0.0, 120.0, 600.0]),
    seed=st.integers(0, 5),
)


@st.composite
def mails(draw: st.DrawFn) -> list[MailRecord]:
    found = []
    for number in range(draw(st.integers(0, 30))):
        at = draw(times)
        found.append(
            MailRecord(
                f"{number:040x}",
                draw(st.integers(0, 20)),
                at,
                at,
                outcome=draw(st.sampled_from([None, "delivered", "duplicate", "too_big"])),
                state=draw(st.sampled_from([None, "pending", "sending", "failed", "delivered"])),
                accepted=[at + wait for wait in draw(st.lists(st.floats(0, 100), max_size=3))],
                webhook_ids={"msg_1"},
            )
        )
    return found


@settings(deadline=None)
@given(plans)
def test_the_schedule_repeats_and_stays_within_the_run(plan):
    schedule = list(schedule_mails(plan))

    assert schedule == list(schedule_mails(plan))
    assert all(0 <= mail.at < plan.seconds and 0 <= mail.user < plan.users for mail in schedule)
    assert [mail.number for mail in schedule] == list(range(len(schedule)))
    assert all(earlier.at <= later.at for earlier, later in pairwise(schedule))


@settings(deadline=None)
@given(plans)
def test_faults_are_ordered_and_hit_what_exists(plan):
    faults = plan_faults(plan)

    assert faults == sorted(faults, key=lambda fault: (fault.start, fault.target))
    assert all(0 <= fault.start <= fault.end <= plan.seconds for fault in faults)
    assert {fault.target for fault in faults} <= {*plan.process_names, "failing"}


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(-50, 50), st.integers(10, 60), st.data())
def test_the_slope_is_that_of_the_line_whatever_a_quarter_of_the_samples_is(slope, start, count, data):
    samples = [(float(at), start + slope * at) for at in range(count)]
    wrong = data.draw(st.lists(st.integers(0, count - 1), max_size=count // 4 - 1, unique=True))
    for place in wrong:
        samples[place] = (samples[place][0], data.draw(st.floats(-1e6, 1e6)))

    assert theil_sen(samples) == pytest.approx(slope, abs=1e-6)
    shifted = [(at + 1000, value + 500) for at, value in samples]
    assert pooled_slope([samples, shifted]) == pytest.approx(slope, abs=1e-6)  # pairs of one life only


@settings(deadline=None)
@given(points, st.integers(2, 50))
def test_thinned_samples_keep_both_ends(samples, most):
    thinned = thin(samples, most)

    assert len(thinned) <= max(most, 0)
    if samples:
        assert (thinned[0], thinned[-1]) == (samples[0], samples[-1])


@settings(deadline=None)
@given(points, st.integers(4, 60))
def test_thinned_dots_keep_the_outliers(dots, most):
    thinned = thinning.thin_dots(dots, most)

    assert len(thinned) <= most or thinned == dots
    outliers = sorted((y for _, y in dots), reverse=True)[: most // 2]
    assert sorted((y for _, y in thinned), reverse=True)[: len(outliers)] == outliers
    remaining = iter(dots)
    assert all(dot in remaining for dot in thinned)  # in their order


@settings(deadline=None)
@given(points, st.integers(4, 60))
def test_a_thinned_line_keeps_ends_and_extremes(line, most):
    thinned = thinning.thin_line(line, most)

    assert len(thinned) <= max(most, len(line) if len(line) <= most else most)
    if line:
        assert (thinned[0], thinned[-1]) == (line[0], line[-1])
        assert max(y for _, y in thinned) == max(y for _, y in line)
        assert min(y for _, y in thinned) == min(y for _, y in line)


@settings(deadline=None)
@given(st.floats(0, 360_000), st.integers(1, 2_000_000), st.integers(0, 2_000_000), st.integers(0, 500_000))
def test_progress_and_its_bar_fit_a_terminal_of_80_columns(seconds, sent, accepted, strikes):
    line = describe(Progress("mail arrives", seconds, 1000, sent, accepted, strikes, 0))

    assert len(line) + 1 + BAR_WIDTH_CHARACTERS <= 80


@settings(deadline=None)
@given(mails())
def test_the_parts_of_the_account_add_up_to_what_was_sent(some):
    counted = account(some)

    assert sum(counted.parts.values()) == counted.sent == len(some)
    assert counted.lost == sum(not mail.accepted for mail in some)
    assert counted.duplicates == sum(max(len(mail.accepted) - 1, 0) for mail in some)


@settings(deadline=None)
@given(st.lists(times, min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_the_share_does_not_exceed(values, share):
    found = percentile(values, share)

    assert found in values
    assert sum(value <= found for value in values) >= math.floor(share * len(values))


events = st.lists(
    st.tuples(times, st.integers(0, 3), st.sampled_from([recovery.STRIKE, recovery.WATCHED]), st.just("bad"))
)


@settings(deadline=None)
@given(events)
def test_each_strike_lies_in_an_episode_that_ends_when_the_mailbox_is_watched(some):
    faults = recovery.mailbox_faults(some)

    for at, user, what, _ in some:
        if what == recovery.STRIKE:
            assert any(
                each.user == user and each.start <= at <= (each.recovered or math.inf) for each in faults
            )
    assert all(each.start <= each.end <= (each.recovered or math.inf) for each in faults)


@settings(deadline=None)
@given(mails(), times)
def test_mail_outside_the_windows_of_faults_is_not_affected(some, start):
    faults = [FaultRecord("kill", "idler1", start, start + 2)]
    recovery.set_recoveries(faults, some, limit=2.0, excused=recovery.FaultIndex([]))

    outside, inside = recovery.split_by_faults(some, recovery.FaultIndex(faults))

    assert len(outside) + len(inside) == len(some)
    assert not any(faults[0].affects(mail) for mail in outside)


@settings(deadline=None)
@given(mails())
def test_a_run_passes_only_if_every_mail_was_accepted_once(some):
    observed = RunRecord(mails=some, faults=[], settled_at=0.0)
    verdict = judge_run(StressPlan(), observed)

    flawless = all(len(mail.accepted) == 1 for mail in some)
    if not flawless:
        assert verdict.exit_code == 1
    elif not some:
        assert verdict.exit_code == 2  # nothing was sent, so nothing can be judged


def clean_run(count: int = 200) -> RunRecord:
    found = [
        MailRecord(
            f"{n:040x}", n % 50, n / 4, n / 4, n / 4, "delivered", "delivered", [n / 4 + 0.05], [], {"m"}
        )
        for n in range(count)
    ]
    return RunRecord(mails=found, faults=[], settled_at=count / 4, ended_at=count / 4)


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda run: run, 0),
        (lambda run: replace(run, forged=1), 1),
        (lambda run: replace(run, astray=1), 1),
        (lambda run: replace(run, settled_at=None), 1),
        (lambda run: replace(run, unexpected_ends=["idler1 ended with code 1"]), 1),
        (lambda run: run.mails[3].webhook_ids.add("other") or run, 1),
        (lambda run: run.mails[3].accepted.append(60.0) or run, 1),
        (lambda run: run.mails[3].accepted.clear() or run, 1),
        (lambda run: [each.accepted.__setitem__(0, 100.0) for each in run.mails[:5]] and run, 1),
        (lambda run: [setattr(each, "generated", each.scheduled + 0.5) for each in run.mails] and run, 2),
    ],
)
def test_the_exit_code_tells_our_faults_from_those_of_the_machine(harm, code):
    assert judge_run(StressPlan(), harm(clean_run())).exit_code == code


def test_a_duplicate_is_excused_only_by_the_kill_of_a_dispatcher_right_after_it():
    run = clean_run()
    run.mails[3].accepted.append(run.mails[3].accepted[0] + 4)
    moment = run.mails[3].accepted[0] + 0.5
    kill = FaultRecord("kill", "dispatcher1", moment, moment + 2, recovered=moment + 2)

    assert judge_run(StressPlan(), replace(run, faults=[kill])).exit_code == 0
    assert judge_run(StressPlan(), replace(run, faults=[replace(kill, target="idler1")])).exit_code == 1
    late = replace(kill, start=moment + 60, end=moment + 62, recovered=moment + 62)
    assert judge_run(StressPlan(), replace(run, faults=[late])).exit_code == 1
