"""The page of a mailbox's sweeps: readings of its history into webhooks, with their progress, and a new one."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from starlette.responses import Response

from superimap.api.dashboard.form_fields import (
    CORRECTABLE,
    Field,
    FieldKind,
    Form,
    form_of,
    read_form,
    refused,
)
from superimap.api.dashboard.menus import ADMIN, PORTAL
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.trails import mailbox_path, mailbox_trail
from superimap.api.dashboard.views.mailbox_forms import get_mailbox
from superimap.api.dashboard.words import Word
from superimap.db.accounts import connecting, sweeps
from superimap.db.accounts.sweeps import SweepRequest
from superimap.db.errors import Invalid
from superimap.db.models import User
from superimap.domain.sweeps import ACTIVE, MAX_MAILS, SweepDirection, SweepState

pages = Pages(ADMIN, PORTAL)

PAGE_ROWS = 25
MAX_UNREAD_ROWS = 20
"""Mails of a sweep that are shown of those that could not be read."""
STATES = {
    SweepState.WAITING: Word("waiting", "warn"),
    SweepState.RUNNING: Word("running"),
    SweepState.PAUSED: Word("paused"),
    SweepState.FINISHED: Word("finished", "good"),
    SweepState.CANCELLED: Word("cancelled"),
    SweepState.FAILED: Word("failed", "bad"),
}
CHANGES = {
    "pause": (SweepState.PAUSED, "sweep-paused"),
    "resume": (SweepState.WAITING, "sweep-resumed"),
    "cancel": (SweepState.CANCELLED, "sweep-cancelled"),
}
"""What a person may do with a sweep: its new state, and what the page then says."""
DIRECTIONS = {SweepDirection.NEWEST.value: "latest first", SweepDirection.OLDEST.value: "earliest first"}
FIELDS = (
    Field("since", "Received since", FieldKind.DATE, hint="A day in UTC. Empty: all mails."),
    Field("until", "Received until", FieldKind.DATE, hint="A day in UTC, included."),
    Field("folder", "Folder", hint="Empty: the folder that is watched."),
    Field(
        "max_mails",
        "Maximum number of webhooks",
        FieldKind.NUMBER,
        hint="Then the sweep ends. Empty: no limit.",
    ),
    Field(
        "direction",
        "Order",
        FieldKind.CHOICE,
        choices=tuple(DIRECTIONS.items()),
    ),
    Field("dry_run", "Only count", FieldKind.CHECK),
    Field(
        "again",
        "Send mails again that had their webhook",
        FieldKind.CHECK,
        hint="Each is sent as another webhook. Only count first, to see how many.",
    ),
)


@pages.get("/mailboxes/{user_id:int}/sweeps")
async def list_sweeps(page: Page, user_id: int) -> Response:
    """List the sweeps of a mailbox, latest first, with the form of a new one."""
    return await _show(page, user_id, form_of(FIELDS, {}))


@pages.post("/mailboxes/{user_id:int}/sweeps")
async def start_sweep(page: Page, user_id: int) -> Response:
    """Start a sweep."""
    await get_mailbox(page, user_id)
    try:
        request = _request(read_form(page, FIELDS))
        async with page.db.begin_nested():
            await sweeps.create(page.db, await _locked(page, user_id), request)
    except CORRECTABLE as error:
        return await _show(page, user_id, refused(page, FIELDS, error), status=422)
    return page.redirect(_path(user_id), done="sweep-started")


@pages.post("/mailboxes/{user_id:int}/sweeps/{id:int}/{change}")
async def change_sweep(page: Page, user_id: int, id: int, change: str) -> Response:
    """Pause, resume or cancel a sweep."""
    await get_mailbox(page, user_id)
    state, done = CHANGES.get(change, (None, ""))
    if state is None:
        raise Invalid("change", "is none of pause, resume and cancel")
    await sweeps.set_state(page.db, await _locked(page, user_id), id, state)
    return page.redirect(_path(user_id), done=done)


async def _show(page: Page, user_id: int, form: Form, *, status: int = 200) -> Response:
    seen = await get_mailbox(page, user_id)
    user = seen.user
    rows = await sweeps.list_latest(page.db, user, limit=PAGE_ROWS + 1, before=page.number("before"))
    unread = [
        (row.id, await sweeps.list_unread(page.db, row, limit=MAX_UNREAD_ROWS))
        for row in rows[:PAGE_ROWS]
        if row.unreadable
    ]
    return page.show(
        "sweeps.html",
        status=status,
        seen=seen,
        trail=mailbox_trail(seen, is_portal=page.scope is not None),
        rows=rows[:PAGE_ROWS],
        unread=dict(unread),
        more=rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None,
        states={state.value: word for state, word in STATES.items()},
        directions=DIRECTIONS,
        active=[state.value for state in ACTIVE],
        form=form,
        path=_path(user_id),
        live="soon" if any(row.finished_at is None for row in rows) else True,
    )


def _request(given: Mapping[str, Any]) -> SweepRequest:
    """Return what a form asks for. Raises Invalid."""
    most: int | None = given["max_mails"]
    if most is not None and not 1 <= most <= MAX_MAILS:
        raise Invalid("max_mails", f"must be a number from 1 to {MAX_MAILS:,}")
    if given["direction"] not in set(SweepDirection):
        raise Invalid("direction", "is none of the choices")
    since: datetime | None = given["since"]
    until: datetime | None = given["until"]
    if until and until.year > sweeps.LATEST_YEAR:  # the day after the last one is none
        raise Invalid("until", f"must be in the years {sweeps.EARLIEST_YEAR} to {sweeps.LATEST_YEAR}")
    return SweepRequest(
        since=since and since.replace(hour=0, minute=0, second=0),
        until=until and until + timedelta(seconds=1),
        folder=given["folder"] or None,
        max_mails=most,
        direction=SweepDirection(given["direction"]),
        again=given["again"],
        dry_run=given["dry_run"],
    )


async def _locked(page: Page, user_id: int) -> User:
    return (await connecting.lock_user(page.db, user_id)).user


def _path(user_id: int) -> str:
    return f"{mailbox_path(user_id)}/sweeps"
