"""The page of a protocol log: who may begin one, how many there are, and that its lines are text."""

from __future__ import annotations

from sqlalchemy import text

from superimap.domain.operators import OperatorRole
from superimap.domain.protocol_logs import MAX_LOGS
from tests.integration.dashboard.test_mailbox import HOSTILE, add_mails
from tests.integration.dashboard.test_sign_in import audit_of
from tests.support.dashboard import signed_in

PATH = "/mailboxes/1/protocol"


async def test_an_operator_begins_and_ends_a_log_and_a_viewer_reads_it(world):
    await add_mails(world)
    operator, viewer = (
        await signed_in(world, OperatorRole.OPERATOR),
        await signed_in(world, OperatorRole.VIEWER),
    )

    refused = await viewer.post(PATH, page="/account")
    begun = await operator.post(PATH, page=PATH)
    async with world.sessionmaker.begin() as db:
        await db.execute(
            text(
                "INSERT INTO protocol_log_lines (user_id, at, direction, line)"
                " VALUES (1, now(), 'received', :line)"
            ),
            {"line": HOSTILE.replace("\0", "")},
        )
    shown = await viewer.get(PATH)
    minutes = text("SELECT extract(epoch FROM ends_at - started_at) / 60 FROM protocol_logs")
    async with world.sessionmaker.begin() as db:
        assert await db.scalar(minutes) == 15
    ended = await operator.post(f"{PATH}/end", page=PATH)

    assert (refused.status_code, begun.status_code, ended.status_code) == (403, 303, 303)
    assert "until" in shown.text
    assert "<img src=x" not in shown.text
    assert "Log for 15 minutes" not in shown.text
    assert "Log for 15 minutes" in (await operator.get(PATH)).text
    assert (await audit_of(world)).count("user.protocol_log") == 2
    again = await operator.post(PATH, page=PATH)
    assert again.status_code == 303
    assert "No line yet" in (await operator.get(PATH)).text


async def test_only_some_mailboxes_are_logged_at_once(world):
    await add_mails(world)
    operator = await signed_in(world, OperatorRole.OPERATOR)
    async with world.sessionmaker.begin() as db:
        await db.execute(
            text(
                "WITH more AS (INSERT INTO users (partner_id, connection_id, tag)"
                " SELECT partner_id, connection_id, 'n' || n FROM users, generate_series(1, :most) n"
                " RETURNING id) INSERT INTO protocol_logs (user_id, requested_by, ends_at)"
                " SELECT id, 'x', now() + interval '1 minute' FROM more"
            ),
            {"most": MAX_LOGS},
        )

    full = await operator.post(PATH, page=PATH)

    assert (full.status_code, f"{MAX_LOGS} mailboxes" in full.text) == (409, True)
