"""The pages Jobs: long actions with their plan, progress and history. A portal has those of its partner."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import Response

from superimap.api.dashboard.delivery_filters import ChosenDeliveries, read_filter
from superimap.api.dashboard.delivery_words import KINDS
from superimap.api.dashboard.menus import ADMIN, PORTAL
from superimap.api.dashboard.page import MAX_ID_DIGITS, Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.words import DELIVERY_STATES, Word
from superimap.api.errors import Problem
from superimap.db.accounts import jobs as queries
from superimap.db.accounts import partners
from superimap.db.accounts.allowances import MAX_PER_WINDOW, Action
from superimap.db.delivery import bulk_jobs
from superimap.db.delivery.bulk_jobs import BulkPlan
from superimap.db.errors import Conflict, TooMany
from superimap.db.models import Job, Partner
from superimap.domain.audit import ActorKind
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind
from superimap.domain.jobs import MAX_COUNTED_ROWS, JobKind, JobState
from superimap.domain.operators import OperatorRole

pages = Pages(ADMIN, PORTAL)

PAGE_ROWS = 50
MINUTE_CHARACTERS = 16
"""Of a time in ISO 8601, as a field of a form has it: 2026-09-21T14:00."""
ACTIONS = {"replay": JobKind.REPLAY_DELIVERIES, "cancel": JobKind.CANCEL_DELIVERIES}
JOB_STATES = {
    JobState.RUNNING: Word("running", "warn"),
    JobState.DONE: Word("done", "good"),
    JobState.CANCELLED: Word("cancelled"),
    JobState.FAILED: Word("failed", "bad"),
}
WAITING = Word("waiting", "warn")
"""State of a running job that has used up its allowance."""
VERBS = {
    JobKind.REPLAY_DELIVERIES: "Replay",
    JobKind.CANCEL_DELIVERIES: "Cancel",
    JobKind.ARCHIVE_USERS: "Archive",
}


def job_name(kind: str, plan: Mapping[str, Any]) -> str:
    """Return what a job does as a phrase: Replay failed webhooks, New mail, tag ann, since …"""
    if kind == JobKind.ARCHIVE_USERS:
        return f"Archive all mailboxes of {plan.get('code')}"
    # Another version may have made the plan.
    state = plan.get("state")
    words = DELIVERY_STATES[DeliveryState(state)].text if state in set(DeliveryState) else ""
    verb = VERBS[JobKind(kind)] if kind in set(JobKind) else kind
    parts = [" ".join(filter(None, (verb, words, "webhooks")))]
    if plan.get("kind") in set(EventKind):
        parts.append(KINDS[EventKind(plan["kind"])])
    if plan.get("tag"):
        parts.append(f"mailbox {plan['tag']}")
    if plan.get("since"):
        parts.append(f"since {plan['since'][:MINUTE_CHARACTERS].replace('T', ' ')}")
    if plan.get("until") and plan.get("has_until", True):
        parts.append(f"until {plan['until'][:MINUTE_CHARACTERS].replace('T', ' ')}")
    return ", ".join(parts)


@pages.get("/jobs")
async def jobs(page: Page) -> Response:
    """List jobs, the latest first; with `partner`, those of one partner."""
    chosen = page.scope or page.number("partner")
    rows = await queries.list_latest(
        page.db, limit=PAGE_ROWS + 1, before=page.number("before"), partner_id=chosen
    )
    names = {row.partner_id: "" for row in rows}
    for partner_id in names:
        found = await partners.by_id(page.db, partner_id)
        names[partner_id] = found.name if found else str(partner_id)
    return page.show(
        "jobs.html",
        rows=rows[:PAGE_ROWS],
        more=rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None,
        partner_names=names,
        chosen=None if page.scope else chosen,
        is_later_page=page.number("before") is not None,
        name_of=job_name,
        word_of=_word,
        most=MAX_COUNTED_ROWS,
        live=True,
    )


@pages.get("/jobs/{id:int}")
async def job(page: Page, id: int) -> Response:
    """Show the plan and the progress of a job."""
    return await _show(page, id)


def _filters(page: Page, job: Job) -> dict[str, object]:
    """Return the query of the page Deliveries that shows what matches a job now."""
    plan = job.plan
    return {
        "partner": None if page.scope else job.partner_id,
        **{name: plan.get(name) for name in ("state", "kind", "tag")},
        "since": plan["since"][:MINUTE_CHARACTERS] if plan.get("since") else None,
        "until": plan["until"][:MINUTE_CHARACTERS] if plan.get("until") and plan.get("has_until") else None,
    }


def _waits_until(job: Job) -> datetime | None:
    """Return when the next batch of a postponed job may run; None if it may now, or the job has ended."""
    is_postponed = (
        job.state == JobState.RUNNING and job.holder is None and job.lease_until > datetime.now(UTC)
    )
    return job.lease_until if is_postponed else None


def _word(job: Job) -> Word:
    return WAITING if _waits_until(job) else JOB_STATES[JobState(job.state)]


async def _show(page: Page, job_id: int, *, fault: str = "") -> Response:
    found = await queries.get(page.db, job_id, partner_id=page.scope)
    return page.show(
        "job.html",
        status=409 if fault else 200,
        job=found,
        partner=await partners.by_id(page.db, found.partner_id),
        name=job_name(found.kind, found.plan),
        filters=_filters(page, found),
        state=_word(found),
        waits_until=_waits_until(found),
        per_minute=MAX_PER_WINDOW[Action.REPLAY],
        most=MAX_COUNTED_ROWS,
        can_cancel=found.state == JobState.RUNNING and _may_cancel(page, found),
        fault=fault,
        live=True,
    )


@pages.get("/jobs/new", role=OperatorRole.OPERATOR)
async def plan_job(page: Page) -> Response:
    """Show what a job would do."""
    partner, chosen, planned = await _read_plan(page, page.query)
    return _show_plan(page, partner, chosen, planned)


@pages.post("/jobs/new")
async def start_job(page: Page) -> Response:
    """Start a job. A large one needs a confirmed identity."""
    partner, chosen, planned = await _read_plan(page, page.field)
    if not planned.count:
        return _show_plan(page, partner, chosen, planned)
    if _needs_confirmation(page, planned):
        query = chosen.query(do=page.field("do"), partner=partner.id)
        return page.redirect("/confirm", next=page.url("/jobs/new", **query).removeprefix(page.url()))
    try:
        started = await bulk_jobs.start(page.db, planned, tag=chosen.given["tag"])
    except (Conflict, TooMany) as refusal:
        return _show_plan(page, partner, chosen, planned, fault=str(refusal))
    answer = page.redirect(f"/jobs/{started.id}")
    answer.background = BackgroundTask(_wake, page)
    return answer


async def _wake(page: Page) -> None:
    page.resources.new_job.set()


async def _read_plan(page: Page, read: Any) -> tuple[Partner, ChosenDeliveries, BulkPlan]:
    """Read the filter and the action from a query or a form. Raises Problem 404 and 422."""
    kind = ACTIONS.get(read("do"))
    partner = page.partner if page.scope is not None else await _named_partner(page, read("partner"))
    chosen = await read_filter(page.db, partner.id, read)
    if kind is None:
        raise Problem(422, "There is no such action.")
    if chosen.faults or (chosen.given["kind"] and chosen.which.kind is None):  # never widened to all kinds
        raise Problem(422, "The filter is not valid. Go back to the deliveries and correct it.")
    return partner, chosen, await bulk_jobs.plan(page.db, kind, chosen.which)


async def _named_partner(page: Page, given: str) -> Partner:
    is_number = given.isascii() and given.isdecimal() and len(given) < MAX_ID_DIGITS
    partner = await partners.by_id(page.db, int(given)) if is_number else None
    if partner is None:
        raise Problem(404, "There is no partner with this id.")
    return partner


def _needs_confirmation(page: Page, planned: BulkPlan) -> bool:
    """Whether the person must confirm who it is. In a portal nobody can; its allowance limits a job instead."""
    return planned.needs_confirmation and page.scope is None and not page.is_fresh


def _may_cancel(page: Page, found: Job) -> bool:
    return page.may_act and (page.scope is None or found.actor_kind == ActorKind.PORTAL)


def _show_plan(
    page: Page, partner: Partner, chosen: ChosenDeliveries, planned: BulkPlan, *, fault: str = ""
) -> Response:
    is_replay = planned.kind is JobKind.REPLAY_DELIVERIES
    is_refused = bool(fault) or (page.form is not None and not planned.count)
    return page.show(
        "job_plan.html",
        status=409 if is_refused else 200,
        partner=partner,
        chosen=chosen,
        planned=planned,
        name=job_name(planned.kind, chosen.given),
        do=next(word for word, kind in ACTIONS.items() if kind is planned.kind),
        verb=VERBS[planned.kind],
        most=MAX_COUNTED_ROWS,
        needs_confirmation=_needs_confirmation(page, planned),
        per_minute=MAX_PER_WINDOW[Action.REPLAY] if page.scope and is_replay else None,
        fault=fault,
    )


@pages.post("/jobs/{id:int}/cancel")
async def cancel_job(page: Page, id: int) -> Response:
    """End a job before it is done."""
    try:
        await queries.cancel(page.db, id, partner_id=page.scope)
    except Conflict as conflict:
        return await _show(page, id, fault=str(conflict))
    return page.redirect(f"/jobs/{id}", done="job-cancelled")
