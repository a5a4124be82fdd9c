"""The capacity plan, computed from round coefficients; and errors that name the option."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from superimap.cli.plan_lines import lines, number
from superimap.core.config import Settings
from superimap.dispatcher.shard_walk import SLICE_USERS
from superimap.domain import bottlenecks, capacity
from superimap.domain.bottlenecks import settings
from superimap.domain.capacity import compute
from superimap.domain.coefficients import MEANINGS, Coefficients, InvalidCoefficients, read_coefficients
from superimap.domain.demand import RANGES, Demand, PlanError, option

FREE = Coefficients(**{each.name: 0.0 for each in fields(Coefficients)})
COSTS = replace(
    FREE,
    session_kib=64,
    idler_base_mib=100,
    dispatcher_base_mib=80,
    api_base_mib=120,
    backend_mib=2,
    idler_cpu_ms_per_mail=3,
    dispatcher_cpu_ms_per_mail=1,
    postgres_cpu_ms_per_mail=2,
    postgres_cpu_ms_per_login=1,
    redis_cpu_ms_per_mail=0.1,
    wal_bytes_per_mail=2000,
    wal_bytes_per_mail_byte=2,
    wal_bytes_per_renewal=100,
    disk_bytes_per_mail=1000,
    disk_bytes_per_user=500,
    webhook_bytes_per_mail_byte=1.5,
    idler_connections=14,
    dispatcher_connections=11,
    api_connections=10,
)
DAY = Demand(mailboxes=4_096_000, mails_per_day=86_400_000, peak_factor=2, max_sessions=10_000)


def test_what_a_day_of_a_thousand_mails_a_second_needs():
    """4,096,000 mailboxes are 1,000 in each shard; the peak is 2,000 mails a second."""
    found = compute(DAY, COSTS)

    assert (found.peak_mails, found.shards_per_idler) == (2000, 10)
    assert (found.idlers_left, found.idlers) == (410, 615)  # 4,096 shards by ten, and half as many again
    assert (found.dispatchers, found.apis) == (6, 3)  # 2 s of CPU a second at 60 %, and half as many again
    assert found.idler_cores == 6.0
    assert found.postgres_cores == pytest.approx(2000 * 0.002 + 4_096_000 / 3000 * 0.001)
    assert found.idler_mib == 615 * 100 + 4_096_000 * 64 / 1024
    assert found.connections == 615 * 14 + 6 * 11 + 3 * 10
    assert found.wal_per_day == pytest.approx(86_400_000 * (2000 + 2 * 5 * 1024) + 288 * 100 * 4_096_000)
    assert found.disk_bytes == 90 * 86_400_000 * 1000 + 4_096_000 * 500
    assert found.redis_cores == 0.2
    assert found.webhook_bits == 2000 * 5 * 1024 * 8 * 1.5


def test_an_idler_takes_whole_shards_only():
    found = compute(replace(DAY, max_sessions=10_999), COSTS)

    assert (found.shards_per_idler, found.idlers_left) == (10, 410)


def test_logins_after_the_loss_of_a_zone_are_bounded_by_the_setting_and_by_postgresql():
    found = compute(DAY, COSTS)
    small = compute(replace(DAY, postgres_cores=10), COSTS)

    assert (found.lost_sessions, found.allowed_logins) == (4_096_000 / 3, 41_000)
    assert found.possible_logins == 64 * 600  # 64 cores at 60 %, a millisecond each
    assert small.possible_logins == 10 * 600
    assert small.relogin_seconds == pytest.approx(4_096_000 / 3 / 6000)
    assert settings(small)["LOGINS_PER_SECOND"] == "14.63"
    assert compute(replace(DAY, logins_per_second=1), COSTS).possible_logins == 410


@pytest.mark.parametrize(
    ("per_second", "login_ms", "setting"),
    [(0.29, 0, "0.29"), (1, 1000, "0.0936"), (100, 500_000, "0.0001"), (100, 1e9, "0.0001")],
)
def test_the_setting_for_logins_is_never_zero_and_is_the_option_if_postgresql_can_follow(
    per_second, login_ms, setting
):
    costs = replace(COSTS, postgres_cpu_ms_per_login=login_ms)
    found = compute(replace(DAY, logins_per_second=per_second), costs)

    assert settings(found)["LOGINS_PER_SECOND"] == setting


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"), (2.9e-7, "<0.001"), (0.001, "0.001"), (0.05149, "0.0515"), (12.34, "12.3"), (12.0, "12"),
        (999.49, "999"), (999.5, "1,000"), (12_345.6, "12,346"), (10.0**12, "1,000,000,000,000"),
    ],
)  # fmt: skip
def test_numbers_for_people_have_no_exponent(value, shown):
    assert number(value) == shown


def test_behind_a_pooler_only_locks_and_listeners_have_connections_of_their_own():
    found, before = compute(replace(DAY, has_pooler=True), COSTS), compute(DAY, COSTS)

    assert found.connections == 615 * 1 + 6 * 1 + 64 * 4
    assert found.postgres_cores - before.postgres_cores == pytest.approx(2000 * 0.0003)
    assert (
        "--pooler"
        not in {each.name: each.remedy for each in bottlenecks.bottlenecks(found)}[
            "connections to PostgreSQL"
        ]
    )


def test_one_machine_needs_one_process_of_each_kind():
    found = compute(Demand(mailboxes=10, mails_per_day=100, partners=1, zones=1), COSTS)

    assert (found.idlers, found.dispatchers, found.apis) == (1, 1, 1)
    assert settings(found) == {}


def test_a_limit_beyond_which_something_only_comes_late_is_named_last_and_needs_no_cells():
    found = compute(replace(DAY, max_sessions=100_000, mailboxes=40_960_000), FREE)

    last = bottlenecks.bottlenecks(found)[-1]
    assert (last.name, last.is_hard) == ("stall check", False)
    assert last.use > 1
    assert bottlenecks.cells(found) == 1


@pytest.mark.parametrize(
    ("demand", "costs", "first"),
    [
        (replace(DAY, postgres_cores=1), COSTS, "CPU of PostgreSQL"),
        (DAY, replace(COSTS, wal_bytes_per_mail=1e6), "WAL of PostgreSQL"),
        (DAY, COSTS, "connections to PostgreSQL"),
        (replace(DAY, logins_per_second=0.5), COSTS, "logins after the loss of a zone"),
        (replace(DAY, max_sessions=1000), FREE, "number of idlers"),
        (replace(DAY, answer_ms=30_000, partners=1), COSTS, "POSTs to one partner"),
        (
            replace(DAY, max_sessions=100_000),
            replace(FREE, redis_cpu_ms_per_mail=1),
            "CPU of Redis or Valkey",
        ),
    ],
)
def test_the_first_bottleneck_is_the_limit_that_is_used_most(demand, costs, first):
    found = bottlenecks.bottlenecks(compute(demand, costs))

    assert found[0].name == first
    uses = [each.use for each in found if each.is_hard]
    assert uses == sorted(uses, reverse=True)
    divided = [each.use for each in found if each.is_hard and each.is_divided]
    assert bottlenecks.cells(compute(demand, costs)) == max(1, -int(-max(divided) // 1))


def test_cells_do_not_divide_the_webhooks_of_one_partner():
    found = compute(replace(DAY, answer_ms=30_000, partners=1), FREE)

    first = bottlenecks.bottlenecks(found)[0]
    assert (first.name, first.use) == ("POSTs to one partner", 60.0)
    assert "cells" not in first.remedy
    assert bottlenecks.cells(found) == 1


@pytest.mark.parametrize("name", RANGES)
def test_an_option_that_is_out_of_range_is_named(name):
    least, most = RANGES[name]
    for value in (least - 1, most + 1, float("nan"), -float("inf")):
        with pytest.raises(PlanError, match=f"^{option(name)} must be from"):
            compute(replace(DAY, **{name: value}), COSTS)


def test_partners_and_sessions_that_do_not_fit_the_mailboxes_are_named():
    with pytest.raises(PlanError, match=r"--partners must not exceed --mailboxes"):
        compute(replace(DAY, mailboxes=9, partners=10), COSTS)
    with pytest.raises(PlanError, match=r"--max-sessions must be at least 1,000: .* got 999$"):
        compute(replace(DAY, max_sessions=999), COSTS)
    assert compute(replace(DAY, max_sessions=1000), COSTS).idlers_left == 4096


def test_a_coefficient_that_is_missing_or_no_number_is_named():
    values = {each.name: 1.0 for each in fields(Coefficients)}

    for wrong in (None, "1", True, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidCoefficients, match="session_kib must be"):
            read_coefficients({**values, "session_kib": wrong})
    assert read_coefficients(values).session_kib == 1.0


def test_each_coefficient_has_a_meaning_and_each_line_names_what_it_is_computed_from():
    names = {each.name for each in fields(Coefficients)}
    shown = " ".join(line.basis for line in lines(compute(DAY, COSTS)))

    assert MEANINGS.keys() == names
    for line in lines(compute(DAY, COSTS)):
        assert line.basis
    for name in ("session_kib", "disk_bytes_per_mail", "wal_bytes_per_mail", "postgres_cpu_ms_per_mail"):
        assert f"{name} {getattr(COSTS, name):g}" in shown


def test_the_plan_has_the_limits_and_defaults_of_the_services():
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    demand = Demand(mailboxes=1, mails_per_day=1)

    assert demand.max_sessions == defaults["max_sessions"]
    assert demand.logins_per_second == defaults["logins_per_second"]
    assert demand.retention_days == defaults["message_retention_days"]
    assert defaults["idle_renew"] == capacity.IDLE_RENEW_SECONDS
    assert defaults["max_lanes"] == capacity.DISPATCHER_LANES
    assert defaults["stalled_after"] == bottlenecks.STALL_CHECK_SECONDS
    assert defaults["posts_per_endpoint"] == bottlenecks.DEFAULT_POSTS_PER_ENDPOINT
    assert defaults["quota_users"] == defaults["quota_sessions"] == bottlenecks.DEFAULT_QUOTA_USERS
    assert SLICE_USERS == bottlenecks.CHECKED_USERS_PER_S


def test_coefficients_that_leave_no_time_for_sessions_are_refused():
    busy = replace(FREE, idler_base_cpu_ms_per_s=600.0)

    with pytest.raises(PlanError, match=r"idler_base_cpu_ms_per_s .* no time for sessions"):
        compute(Demand(mailboxes=10, mails_per_day=10), busy)
