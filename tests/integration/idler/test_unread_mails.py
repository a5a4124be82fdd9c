"""Mails of a sweep that cannot be read: passed over with a proof, listed, tried again, and given up by time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from fixtures.world import eventually, running
from superimap.db.watching import sweeps as sweep_queries
from superimap.domain import sweeps as pace
from superimap.domain.sweeps import SweepDirection, SweepState
from superimap.launch import services
from superimap.testing.imap.hooks import Hook, answering, ending, only
from tests.integration.idler.sweeping import OLD, Sweeps, olds
from tests.integration.idler.test_watching import idling

REFUSED = answering(b"%(tag)s NO cannot be read")
TWO_DAYS = pace.GIVE_UP_SECONDS


class Faults:
    """Faults of a mail server: the answer to FETCH of a body, by UID; `all_mails` for any UID."""

    def __init__(self) -> None:
        self.of_uid: dict[int, Hook] = {}
        self.of_metadata: dict[int, Hook] = {}
        self.all_mails: Hook | None = None

    async def __call__(self, session: Any, command: Any) -> Any:
        uids, items = str(command.arguments[0], "ascii"), str(command.arguments[1]).upper()
        if "BODY.PEEK[]" in items:
            hook = self.all_mails or self.of_uid.get(int(uids) if uids.isdecimal() else 0)
        else:
            wanted = {int(n) for part in uids.split(",") for n in part.split(":") if n.isdecimal()}
            among = [hook for uid, hook in self.of_metadata.items() if min(wanted) <= uid <= max(wanted)]
            hook = among[0] if among and wanted else None
        return await hook(session, command) if hook else None


@pytest.fixture
def faults(history: Sweeps, monkeypatch: pytest.MonkeyPatch) -> Faults:
    monkeypatch.setattr(pace, "FIRST_MAIL_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(pace, "LONGEST_MAIL_RETRY_SECONDS", 0.2)
    found = Faults()
    history.imap.on("UID FETCH", found)
    return found


async def unread(history: Sweeps) -> list[tuple[int, str]]:
    rows = await history.world.rows("SELECT uid, reason FROM sweep_mails ORDER BY uid")
    return [(row["uid"], row["reason"]) for row in rows]


@pytest.mark.parametrize("fault", [REFUSED, ending()], ids=["refused", "connection ended"])
@pytest.mark.parametrize("direction", SweepDirection)
async def test_a_mail_that_cannot_be_read_holds_up_no_other_and_is_sent_once_it_can(
    history, faults, fault, direction
):
    await history.set_up(5)
    faults.of_uid[3] = fault
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        sweep = await history.start(direction=direction)
        waiting = await history.until(sweep, lambda row: row["sent"] == 4 and row["unreadable"] == 1)
        listed = await unread(history)
        await eventually(lambda: history.world.value("SELECT attempts > 2 FROM sweep_mails"))
        faults.of_uid.clear()
        row = await history.ended(sweep)

    assert (waiting["state"], waiting["done"]) == ("running", 5)
    assert [uid for uid, _ in listed] == [3]
    assert (row["state"], row["reason"], row["sent"], row["unreadable"]) == ("finished", None, 5, 0)
    assert sorted(await history.subjects()) == olds(0, 1, 2, 3, 4)
    assert await history.world.value("SELECT count(*) FROM deliveries") == 5
    assert await unread(history) == []


async def test_a_mail_out_of_the_range_is_not_sent_once_its_date_can_be_read(history, faults):
    await history.set_up(6)
    faults.of_metadata[5] = REFUSED
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        sweep = await history.start(until=OLD + timedelta(minutes=2))
        await history.until(sweep, lambda row: row["unreadable"] == 1 and row["sent"] == 2)
        faults.of_metadata.clear()
        row = await history.ended(sweep)

    assert (row["state"], row["sent"], row["unreadable"]) == ("finished", 2, 0)
    assert sorted(await history.subjects()) == olds(0, 1)


async def test_a_mail_is_given_up_after_two_days_of_failure_and_stays_listed(history, faults):
    await history.set_up(3)
    faults.of_uid[2] = REFUSED
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        sweep = await history.start()
        waiting = await history.until(sweep, lambda row: row["reason"])
        await history.world.rows("UPDATE sweep_mails SET failing_seconds = $1", TWO_DAYS - 0.3)
        row = await history.ended(sweep)

    assert waiting["reason"] == "1 mail could not be read; it is tried again"
    assert (row["state"], row["reason"]) == ("finished", "1 mail could not be read")
    assert (row["sent"], row["unreadable"]) == (2, 1)
    assert await unread(history) == [(2, "FETCH: NO cannot be read")]
    assert await history.world.value("SELECT given_up_at IS NOT NULL FROM sweep_mails")


async def test_metadata_that_end_connections_are_cut_down_to_the_mail_at_fault(history, faults):
    await history.set_up(30)
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        faults.of_metadata[17] = ending()
        sweep = await history.start(dry_run=True)
        row = await history.ended(sweep)

    assert (row["sent"], row["unreadable"], row["done"]) == (29, 1, 30)
    assert [uid for uid, _ in await unread(history)] == [17]


async def test_an_outage_passes_over_no_mail_and_fails_the_sweep_by_time_and_not_by_count(
    history, faults, monkeypatch
):
    monkeypatch.setattr(pace, "LONGEST_RETRY_SECONDS", 0.05)
    await history.set_up(5)
    faults.all_mails = REFUSED
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        sweep = await history.start()
        await history.until(sweep, lambda row: row["failures"] > 1)
        await history.world.rows("UPDATE sweeps SET failures = 40")
        failing = await history.until(sweep, lambda row: row["failures"] > 42)
        assert (failing["state"], failing["done"], failing["unreadable"]) == ("running", 0, 0)
        assert failing["failing_since"] < failing["failed_at"]
        await history.set_state(sweep, SweepState.PAUSED)
        await history.set_state(sweep, SweepState.WAITING)
        again = await history.until(sweep, lambda row: row["failures"] > 0)
        await history.world.rows("UPDATE sweeps SET failing_seconds = $1", TWO_DAYS - 0.1)
        row = await history.ended(sweep)

    assert again["failing_since"] > failing["failed_at"]
    assert row["state"] == "failed"
    assert row["reason"].startswith("no progress within two days of attempts: no mail can be read: ")


async def test_time_in_which_nothing_was_tried_does_not_count_as_failure(history, faults):
    await history.set_up(2)
    faults.all_mails = REFUSED
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        sweep = await history.start()
        await history.until(sweep, lambda row: row["failures"] > 1)
        await history.world.rows("UPDATE sweeps SET failed_at = now() - interval '30 days'")
        late = await history.until(sweep, lambda row: row["failing_seconds"] > 100)
        faults.all_mails = None
        row = await history.ended(sweep)

    assert late["failing_seconds"] < pace.LONGEST_GAP_SECONDS + 60
    assert (row["state"], row["sent"], row["failing_since"], row["failing_seconds"]) == (
        "finished",
        2,
        None,
        0,
    )


async def test_a_sweep_reads_no_further_while_too_many_mails_are_unread_and_forgets_them_when_renumbered(
    history, faults, monkeypatch
):
    monkeypatch.setattr(pace, "MAX_UNREAD_MAILS", 2)
    await history.set_up(6)
    faults.of_uid |= dict.fromkeys((6, 5, 4), REFUSED)
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        sweep = await history.start()
        full = await history.until(sweep, lambda row: row["reason"])
        listed = [uid for uid, _ in await unread(history)]
        faults.of_uid = {4: REFUSED}
        inbox = history.imap.accounts["joe"].inbox
        inbox.set_uidvalidity(inbox.uidvalidity + 1)
        again = await history.until(sweep, lambda row: row["sent"] == 5 and row["unreadable"] == 1)
        row = await unread(history)

    assert (full["done"], full["sent"], listed) == (2, 0, [5, 6])
    assert full["reason"].endswith("no other mail is read until then")
    assert again["state"] == "running"
    assert [uid for uid, _ in row] == [4]


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"superimap_mailbox_{name}", labels) or 0.0


async def test_metrics_count_what_became_of_mails_and_why_runs_failed(history, faults, monkeypatch):
    def values() -> dict[str, float]:
        mails = ("looked_at", "read", "sent", "unreadable")
        return {name: counted("sweep_mails_total", result=name) for name in mails} | {
            "server": counted("sweep_failures_total", cause="server"),
            "internal": counted("sweep_failures_total", cause="internal"),
            "finished": counted("sweeps_ended_total", state="finished"),
        }

    set_total, calls = sweep_queries.set_total, []

    async def broken(*arguments: Any, **options: Any) -> None:
        calls.append(counted("sweeps_running"))
        if len(calls) == 1:
            raise ZeroDivisionError
        await set_total(*arguments, **options)

    monkeypatch.setattr(sweep_queries, "set_total", broken)
    await history.set_up(4)
    faults.of_uid = {2: only(REFUSED, times=1), 3: only(ending(), times=1)}
    before = values()
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        await history.ended(await history.start())

    assert {name: value - before[name] for name, value in values().items()} == {
        "looked_at": 4, "read": 4, "sent": 4, "unreadable": 2, "server": 1, "internal": 1, "finished": 1,
    }  # fmt: skip
    assert calls[0] == 1
    assert counted("sweeps_running") == 0
