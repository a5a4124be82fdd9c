"""The page of sweeps: who may start and change one, what a form asks for, and that a portal has its own only."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from superimap.domain.operators import OperatorRole
from tests.integration.dashboard.test_mailbox import add_mails
from tests.integration.dashboard.test_sign_in import audit_of
from tests.support.dashboard import signed_in

PATH = "/mailboxes/1/sweeps"


async def rows(world) -> list:
    async with world.sessionmaker.begin() as db:
        return (await db.execute(text("SELECT * FROM sweeps ORDER BY id"))).all()


async def test_an_operator_starts_and_changes_a_sweep_and_a_viewer_sees_it(world):
    await add_mails(world)
    operator, viewer = (
        await signed_in(world, OperatorRole.OPERATOR),
        await signed_in(world, OperatorRole.VIEWER),
    )
    form = {"since": "2026-06-01", "until": "2026-06-30", "folder": "Archive", "max_mails": "7"}

    refused = await viewer.post(PATH, {"direction": "newest"}, page="/account")
    started = await operator.post(PATH, {"direction": "oldest", "dry_run": "on", **form}, page=PATH)
    (row,) = await rows(world)
    shown = (await viewer.get(PATH)).text
    for change, state in (("pause", "paused"), ("resume", "waiting"), ("cancel", "cancelled")):
        changed = await operator.post(f"{PATH}/{row.id}/{change}", page=PATH)
        assert changed.status_code == 303
        assert (await rows(world))[0].state == state

    assert (refused.status_code, started.status_code) == (403, 303)
    assert (row.since.isoformat(), row.until.isoformat()) == (
        "2026-06-01T00:00:00+00:00",
        "2026-07-01T00:00:00+00:00",
    )
    assert (row.folder, row.max_mails, row.direction, row.dry_run, row.again) == (
        "Archive",
        7,
        "oldest",
        True,
        False,
    )
    assert "waiting" in shown
    assert "Start the sweep" not in shown
    assert PATH in (await viewer.get("/mailboxes/1")).text
    actions = await audit_of(world)
    assert (actions.count("sweep.create"), actions.count("sweep.update")) == (1, 3)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"max_mails": "0"}, "Must be a number from 1 to 1,000,000."),
        ({"direction": "up"}, "Is none of the choices."),
        ({"since": "2026-06-30", "until": "2026-06-01"}, "Must be later than since."),
        ({"folder": "a\x07b"}, "Must have 1 to 1,024 printable characters."),
    ],
)
async def test_a_form_says_what_is_wrong_with_it(world, fields, wrong):
    await add_mails(world)
    operator = await signed_in(world, OperatorRole.OPERATOR)

    answer = await operator.post(PATH, {"direction": "newest"} | fields, page=PATH)

    assert (answer.status_code, wrong in answer.text) == (422, True)
    assert not await rows(world)


async def test_mails_that_could_not_be_read_are_shown_with_their_uids(world):
    await add_mails(world)
    operator = await signed_in(world, OperatorRole.OPERATOR)
    await operator.post(PATH, {"direction": "newest"}, page=PATH)
    async with world.sessionmaker.begin() as db:
        await db.execute(
            text("UPDATE sweeps SET unreadable = 30, total = 40, reason = 'x', failing_since = now()")
        )
        await db.execute(
            text(
                "INSERT INTO sweep_mails (sweep_id, uid, reason, next_attempt_at, given_up_at)"
                " SELECT id, uid, '<b>NO</b>', now(), CASE WHEN uid = 1 THEN now() END"
                " FROM sweeps, generate_series(1, 30) uid"
            )
        )

    page = (await operator.get(PATH)).text

    assert page.count("&lt;b&gt;NO&lt;/b&gt;") == 20
    assert "UID 20:" in page
    assert "UID 21:" not in page
    assert "and 10 more" in page
    assert "without progress since" in page
