"""The pages Deliveries and Endpoint: lists, filters, one delivery, its replay and cancellation, and roles."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import web

from fixtures.deliveries import DeliveryFactory
from superimap.api.dashboard.views import deliveries as view
from superimap.core.ids import derived_uuid7
from superimap.db.accounts import allowances
from superimap.domain.operators import OperatorRole
from superimap.testing import WebhookSink
from tests.integration.dashboard.test_portal import opened as opened_portal
from tests.support.dashboard import signed_in

HOOK = "https://app.example.com/hook"
HOSTILE = "<script>alert(1)</script>\u202e" + "a" * 500


@pytest_asyncio.fixture
async def factory(world) -> DeliveryFactory:
    """Deliveries for acme, which has the mailbox ann and a URL."""
    made = DeliveryFactory(world.sessionmaker, world.vault)
    await made.user("ann")
    await made.endpoint(HOOK)
    return made


async def partner_id(factory: DeliveryFactory) -> str:
    return str(await factory.value("SELECT id FROM partners WHERE name = :name", name=factory.partner))


async def test_deliveries_are_listed_and_filtered_and_paged(world, factory, monkeypatch):
    monkeypatch.setattr(view, "PAGE_ROWS", 2)
    await factory.user("bob")
    failed = await factory.deliveries(3)
    (pending,) = await factory.deliveries(state="pending", tag="bob", attempts=0)
    viewer = await signed_in(world, OperatorRole.VIEWER)
    acme = await partner_id(factory)

    async def listed(**query: str) -> list[str]:
        shown = await viewer.get("/deliveries", partner=acme, **query)
        assert shown.status_code == 200, shown.text
        return [each for each in [*failed, pending] if f"/{each}" in shown.text]

    assert "acme" in (await viewer.get("/deliveries")).text
    first = await viewer.get("/deliveries", partner=acme, state="failed")
    assert first.status_code == 200 and "Failed 3" in first.text and f"after={failed[1]}" in first.text
    assert await listed(state="failed") == failed[1:]
    assert await listed(state="failed", after=failed[1]) == failed[:1]
    assert await listed(state="pending", kind="new_mail") == [pending]
    assert await listed(tag="bob") == [pending]
    assert await listed(since="2100-01-01T00:00") == []
    wrong = [
        await viewer.get("/deliveries", partner=acme, **query)
        for query in (
            {"tag": "nobody"},
            {"tag": "a\0"},
            {"since": "yesterday"},
            {"until": "0001-01-01T00:00"},
        )
    ]
    assert {each.status_code for each in wrong} == {422}
    assert (await viewer.get("/deliveries", partner="9999")).status_code == 404


async def test_the_list_shows_the_times_by_which_it_is_sorted(world, factory):
    mails = [datetime(2026, 9, 21, 12, 0, second, tzinfo=UTC) for second in (40, 20, 30)]
    for number, mail in enumerate(mails):  # recorded in another order than received, as after an outage
        (made,) = await factory.deliveries(created_at=mail + timedelta(minutes=number + 1))
        await factory.value(
            "UPDATE deliveries SET id = :new WHERE id = :id RETURNING 1",
            id=UUID(made.removeprefix("msg_")),
            new=derived_uuid7(mail, 0, made.encode()),
        )
    viewer = await signed_in(world, OperatorRole.VIEWER)

    page = (await viewer.get("/deliveries", partner=await partner_id(factory))).text

    shown = re.findall(r'data-name="Time"><time datetime="([^"]*)"', page)
    assert shown == [each.isoformat() for each in sorted(mails, reverse=True)]


async def test_a_delivery_is_explained_and_what_receivers_and_partners_wrote_is_text(world, factory):
    await factory.value("UPDATE users SET email = :email RETURNING id", email=HOSTILE)
    (failed,) = await factory.deliveries()
    await factory.attempt(failed, 17, code=502, answer=HOSTILE)
    viewer = await signed_in(world, OperatorRole.VIEWER)
    acme = await partner_id(factory)

    shown = await viewer.get(f"/deliveries/{acme}/{failed}")

    assert "Failed for good after 17 attempts; the last one: 500 Internal Server Error." in shown.text
    assert "502 Bad Gateway" in shown.text
    assert "<script>alert" not in shown.text and "\u202e" not in shown.text
    assert shown.text.count("⟨U+202E⟩") == 2
    await factory.endpoint(HOOK, kind="events")
    (event,) = await factory.deliveries(kind="events")
    assert "flags, move or deletion of a mail" in (await viewer.get(f"/deliveries/{acme}/{event}")).text
    globex = await partner_id(DeliveryFactory(world.sessionmaker, world.vault, "globex"))
    for path in (f"/deliveries/{globex}/{failed}", f"/deliveries/{acme}/msg_x", f"/deliveries/99/{failed}"):
        assert (await viewer.get(path)).status_code == 404


async def test_an_operator_replays_and_cancels_and_a_viewer_does_not(world, factory):
    (failed,) = await factory.deliveries()
    (delivered,) = await factory.deliveries(state="delivered", has_content=False)
    acme = await partner_id(factory)
    page = f"/deliveries/{acme}/{failed}"
    viewer, operator = (
        await signed_in(world, OperatorRole.VIEWER),
        await signed_in(world, OperatorRole.OPERATOR),
    )

    assert f"{page}/replay" not in (await viewer.get(page)).text
    assert (await viewer.post(f"{page}/replay", page=page)).status_code == 403
    assert await factory.state(failed) == "failed"

    replayed = await operator.post(f"{page}/replay", page=page)
    assert replayed.headers["location"].endswith("?done=replayed")
    assert await factory.state(failed) == "pending"
    assert "Waiting to be sent now." in (await operator.get(page)).text
    again = await operator.post(f"{page}/replay", page=page)
    assert (again.status_code, "still pending" in again.text) == (409, True)

    await operator.post(f"{page}/cancel", page=page)
    assert await factory.state(failed) == "cancelled"
    erased = await operator.post(f"/deliveries/{acme}/{delivered}/replay", page=page)
    assert erased.status_code == 409
    audited = "SELECT count(*) FROM audit_log WHERE actor = 'operator@example.com' AND object_id IS NOT NULL"
    assert await factory.value(audited) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "disabled_at = now(), disabled_reason = 'gone'",
            "the endpoint is disabled, because it answered 410",
        ),
        ("breaker = 'open', probe_at = now() + interval '90 s'", "and is tried again in 1.5 min"),
        ("breaker = 'slow_start', width = 1", "takes few webhooks at once"),
    ],
)
async def test_a_waiting_delivery_says_what_it_waits_for(world, factory, change, words):
    (pending,) = await factory.deliveries(state="pending", attempts=1)
    await factory.value(f"UPDATE endpoints SET {change} WHERE url IS NOT NULL RETURNING id")
    viewer = await signed_in(world, OperatorRole.VIEWER)

    shown = await viewer.get(f"/deliveries/{await partner_id(factory)}/{pending}")

    assert words in shown.text


async def test_an_endpoint_shows_its_health_its_backlog_and_whose_fault_slow_webhooks_are(world, factory):
    await factory.user("bob")
    endpoint = await factory.endpoint(HOOK)
    (slow,) = await factory.deliveries(state="delivered")
    await factory.attempt(slow, 1, code=200, answer=HOSTILE)
    await factory.value("UPDATE attempts SET milliseconds = 4000 RETURNING id")
    (old,) = await factory.deliveries(state="pending", attempts=1)
    await factory.attempt(old, 1, code=None, answer="", error="timeout")
    await factory.value(
        "UPDATE endpoints SET breaker = 'open', failures = 12, failing_since = now(), "
        "probe_at = now() + interval '30 s' WHERE id = :id RETURNING id",
        id=endpoint,
    )
    viewer = await signed_in(world, OperatorRole.VIEWER)
    operator = await signed_in(world, OperatorRole.OPERATOR)

    shown = await viewer.get(f"/endpoints/{endpoint}")

    assert "One webhook at a time is tried, the next in " in shown.text
    assert "https://app.example.com/…" in shown.text and HOOK not in shown.text
    assert HOOK in (await operator.get(f"/endpoints/{endpoint}")).text
    assert slow in shown.text and old in shown.text and "no answer in time" in shown.text
    assert "<script>alert" not in shown.text and "\u202e" not in shown.text
    assert (
        "Their server is slow: webhooks are sent at once" in shown.text and "Waiting</dt><dd><a" in shown.text
    )
    assert (await viewer.get("/endpoints/99")).status_code == 404


async def test_an_operator_enables_an_endpoint_and_changes_its_url_and_a_viewer_does_not(world, factory):
    endpoint = await factory.endpoint(HOOK)
    await factory.value(
        "UPDATE endpoints SET disabled_at = now(), disabled_reason = 'gone' WHERE id = :id RETURNING id",
        id=endpoint,
    )
    page = f"/endpoints/{endpoint}"
    viewer = await signed_in(world, OperatorRole.VIEWER)
    operator = await signed_in(world, OperatorRole.OPERATOR)
    disabled = "SELECT disabled_at IS NOT NULL FROM endpoints WHERE id = :id"
    url = "SELECT url FROM endpoints WHERE id = :id"

    for action in ("enable", "test", "edit"):
        assert (await viewer.post(f"{page}/{action}", {"url": "https://evil.example"})).status_code == 403
    assert (await viewer.get(f"{page}/edit")).status_code == 403
    assert await factory.value(disabled, id=endpoint)

    assert "Disabled, because it answered 410." in (await operator.get(page)).text
    await operator.post(f"{page}/enable", page=page)
    assert not await factory.value(disabled, id=endpoint)

    wrong = await operator.post(f"{page}/edit", {"url": "javascript:alert(1)"}, page=page)
    assert (wrong.status_code, "javascript:alert(1)" in wrong.text) == (422, True)
    await operator.post(f"{page}/edit", {"url": f"{HOOK}/new"}, page=page)
    assert await factory.value(url, id=endpoint) == f"{HOOK}/new"
    await operator.post(f"{page}/edit", {"url": ""}, page=page)
    assert await factory.value(url, id=endpoint) is None
    assert (await operator.post(f"{page}/enable", page=page)).status_code == 404


async def test_a_test_webhook_shows_its_answer_and_is_limited(world, factory):
    operator = await signed_in(world, OperatorRole.OPERATOR)
    async with WebhookSink(answer=lambda _: web.Response(text=HOSTILE)) as sink:
        page = f"/endpoints/{await factory.endpoint(sink.url())}"
        tested = await operator.post(f"{page}/test", page=page)
        assert "data-live" in (await operator.get(page)).text
        assert "data-live" not in tested.text, "a refresh would replace the answer"
        for _ in range(allowances.MAX_PER_WINDOW[allowances.Action.TEST]):
            last = await operator.post(f"{page}/test", page=page)

    assert (tested.status_code, "200 OK" in tested.text) == (200, True)
    assert "&lt;script&gt;alert(1)" in tested.text and "\u202e" not in tested.text
    assert (last.status_code, "per minute" in last.text) == (429, True)


async def test_a_portal_shows_replays_and_tests_its_own_and_changes_no_url(world, factory):
    (failed,) = await factory.deliveries()
    endpoint = await factory.endpoint(HOOK)
    theirs = DeliveryFactory(world.sessionmaker, world.vault, "globex")
    await theirs.user("bob")
    await theirs.endpoint(HOOK)
    (other,) = await theirs.deliveries(tag="bob")
    acme = await opened_portal(world, world.acme)
    page = f"/deliveries/{failed}"

    listed = await acme.get("/deliveries", state="failed", partner=await partner_id(theirs))
    assert failed in listed.text and other not in listed.text
    assert HOOK in (await acme.get(f"/endpoints/{endpoint}")).text
    await factory.attempt(failed, 1, code=200, answer="")
    await factory.value("UPDATE attempts SET milliseconds = 4000 RETURNING id")
    assert "Your server is slow" in (await acme.get(f"/endpoints/{endpoint}")).text
    assert (await acme.post(f"{page}/replay", page=page)).headers["location"] == (
        f"/portal/deliveries/{failed}?done=replayed"
    )
    assert await factory.state(failed) == "pending"
    assert (await acme.post(f"{page}/cancel", page=page)).status_code == 303
    for path in (f"/deliveries/{other}/replay", f"/endpoints/{endpoint}/edit"):
        assert (await acme.post(path, {"url": "https://evil.example"}, page=page)).status_code == 404
    async with world.sessionmaker.begin() as db:
        await allowances.use(db, int(await partner_id(factory)), allowances.Action.REPLAY, 10_000)
    limited = await acme.post(f"{page}/replay", page=page)
    assert (limited.status_code, "per minute" in limited.text) == (409, True)
    assert await theirs.state(other) == "failed"
