"""The page Endpoint: where webhooks of one kind go, whether that works, and whose fault slow ones are."""

from typing import Any, cast

from starlette.background import BackgroundTask
from starlette.responses import Response

from superimap.api.dashboard import activity_charts, delay_words, delivery_words
from superimap.api.dashboard.menus import ADMIN, PORTAL
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.words import Word
from superimap.db.accounts import allowances, partner_keys, partners, webhook_endpoints
from superimap.db.accounts.allowances import Action
from superimap.db.accounts.validation.partners import PartnerFields
from superimap.db.errors import Invalid, TooMany
from superimap.db.monitoring import endpoints
from superimap.db.monitoring.endpoints import MAX_BACKLOG, EndpointRow
from superimap.dispatcher import sample_webhooks
from superimap.dispatcher.webhook_client import PostResult
from superimap.domain.events import EventKind
from superimap.domain.operators import OperatorRole
from superimap.domain.webhook_delays import judge_delays
from superimap.webhooks.urls import shown_url

pages = Pages(ADMIN, PORTAL)
admin_pages = Pages(ADMIN)

SHOWN_ATTEMPTS = 20


@pages.get("/endpoints/{id:int}")
async def endpoint(page: Page, id: int) -> Response:
    """Show one endpoint."""
    return await _show(page, await endpoints.get_endpoint(page.db, id, partner_id=page.scope))


async def _show(
    page: Page, seen: EndpointRow, *, fault: str = "", tested: tuple[str, PostResult] | None = None
) -> Response:
    return page.show(
        "endpoint.html", status=429 if fault else 200, **await _values(page, seen, fault, tested)
    )


async def _values(
    page: Page, seen: EndpointRow, fault: str = "", tested: tuple[str, PostResult] | None = None
) -> dict[str, Any]:
    found, vault = seen.endpoint, page.resources.vault
    most = page.resources.settings.posts_per_endpoint
    backlog = await endpoints.measure_backlog(page.db, found.id)
    sample = await endpoints.list_first_posts(page.db, found)
    judged = judge_delays(
        sample.posts,
        is_whole=sample.is_whole,
        in_flight=backlog.sending,
        is_healthy=found.breaker == "closed" and found.disabled_at is None,
        max_posts=most,
        overdue=(seen.now - backlog.due_at).total_seconds() if backlog.due_at is not None else 0.0,
        is_disabled=found.disabled_at is not None,
    )
    verdict = delivery_words.endpoint_headline(found, seen.now, judged)
    words = delay_words.delay_words(judged)
    return {
        "seen": seen,
        "endpoint": found,
        "url": shown_url(found.url, is_whole=page.may_act),
        "headline": _for_reader(page, verdict),
        "disabled_because": delivery_words.disabled_because(found),
        "state": delivery_words.judged_state(found, verdict, judged),
        "backlog": backlog,
        "most": MAX_BACKLOG,
        "max_posts": most,
        "attempts": await endpoints.list_last_attempts(page.db, vault, found, limit=SHOWN_ATTEMPTS),
        "delays": judged,
        "delay_words": _for_reader(page, words) if words != verdict else None,
        "charts": await activity_charts.of_endpoint(page.db, found),
        "kind": delivery_words.KINDS[EventKind(found.kind)],
        "answer": delivery_words.answer_words,
        "fault": fault,
        "tested": tested,
        "shown_answer": sample_webhooks.shown_answer,
        "live": True,
    }


def _for_reader(page: Page, words: Word) -> Word:
    return words if page.scope is None else delay_words.addressed(words)


@pages.post("/endpoints/{id:int}/enable")
async def enable_endpoint(page: Page, id: int) -> Response:
    """Enable the endpoint, and send what waits."""
    found = (await endpoints.get_endpoint(page.db, id, partner_id=page.scope)).endpoint
    await webhook_endpoints.enable(page.db, found.partner_id, EventKind(found.kind))
    answer = page.redirect(f"/endpoints/{id}", done="enabled")
    answer.background = BackgroundTask(page.resources.ring, id)
    return answer


@pages.post("/endpoints/{id:int}/test")
async def test_endpoint(page: Page, id: int) -> Response:
    """Send a test webhook, and show its answer."""
    seen = await endpoints.get_endpoint(page.db, id, partner_id=page.scope)
    kind = EventKind(seen.endpoint.kind)
    found = await webhook_endpoints.get_endpoint(page.db, seen.endpoint.partner_id, kind)
    try:
        await allowances.use(page.db, found.partner_id, Action.TEST)
    except TooMany as refusal:
        return await _show(page, seen, fault=str(refusal))
    await webhook_endpoints.record_test(page.db, found.partner_id, kind)
    keys = await partner_keys.signing_keys(page.db, page.resources.vault, found.partner_id)
    values = await _values(page, seen)
    await (
        page.db.commit()
    )  # counts even if the POST fails, and frees the connection while the endpoint answers
    sent = await sample_webhooks.send_sample(page.resources.settings, keys, kind, str(found.url))
    return page.show("endpoint.html", **{**values, "tested": sent})


@admin_pages.get("/endpoints/{id:int}/edit", role=OperatorRole.OPERATOR)
async def edit_endpoint(page: Page, id: int) -> Response:
    """Show the form for the URL."""
    seen = await endpoints.get_endpoint(page.db, id, partner_id=page.scope)
    return _form(page, seen, url=seen.endpoint.url or "")


@admin_pages.post("/endpoints/{id:int}/edit")
async def save_endpoint(page: Page, id: int) -> Response:
    """Change the URL."""
    seen = await endpoints.get_endpoint(page.db, id, partner_id=page.scope)
    url = page.field("url")
    if url == (seen.endpoint.url or ""):
        return page.redirect(f"/endpoints/{id}", done="unchanged")
    fields = cast(PartnerFields, {f"{seen.endpoint.kind}_webhook": url})
    is_production = page.resources.settings.environment == "production"
    try:
        await partners.update(page.db, seen.endpoint.partner_id, https_only=is_production, **fields)
    except Invalid as invalid:
        return _form(page, seen, url=url, fault=f"The URL {invalid.reason}.")
    answer = page.redirect(f"/endpoints/{id}", done="saved")
    answer.background = BackgroundTask(page.resources.ring, id)
    return answer


def _form(page: Page, seen: EndpointRow, *, url: str, fault: str = "") -> Response:
    return page.show(
        "endpoint_form.html",
        status=422 if fault else 200,
        seen=seen,
        url=url,
        fault=fault,
        kind=delivery_words.KINDS[EventKind(seen.endpoint.kind)],
    )
