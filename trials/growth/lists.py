"""Lists and bulk changes that are built by SQLAlchemy, each with a page budget for its statements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import await_only

from superimap.core.crypto import Vault, generate_key
from superimap.db import audit
from superimap.db.accounts import users
from superimap.db.accounts.users import PageStart
from superimap.db.delivery import replay
from superimap.db.models import Connection, Endpoint, User
from superimap.db.monitoring import (
    changes,
    delivery_details,
    endpoints,
    finding,
    history,
    mailbox_lists,
    mailboxes,
    messages,
    partner_lists,
    partner_overview,
    statuses,
    tracers,
    troubled_lists,
)
from superimap.db.monitoring.history import DeliveryFilter
from superimap.db.monitoring.mailbox_lists import MailboxFilter, MailboxScope
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind
from superimap.domain.mails import MailOutcome
from superimap.domain.users import UserStatus

PARTNER, CONNECTION, USER, TAG, ENDPOINT = 1, 1, 4000, "tag4000", 1
LIST_ROWS = 20
"""Rows of a list."""
PAGE_BUDGET = 1_200
"""Pages of 8 KiB that a list may read: some for each row and its joins."""
LOOKED_ROWS = 200
"""Users that a page looks at. The 2,000 of the dashboard would be a third of a small database: it is scanned."""
BULK_ROWS = 50
"""Deliveries that are replayed or cancelled."""
BULK_BUDGET = 12_000
"""Pages for these, and for 10,000 that are counted."""

Work = Callable[[AsyncSession], Awaitable[object]]
Record = Callable[[str, tuple[Any, ...]], Awaitable[None]]


TRACERS: dict[str, tuple[Work, int]] = {
    "providers and their tracers": (tracers.list_providers, 300),
    "arrival check of a portal": (lambda db: tracers.of_partner(db, PARTNER), 300),
    "tracers by day": (tracers.read_days, 300),
    "last tracers": (tracers.last_times, PAGE_BUDGET),
    "last misses of tracers": (tracers.list_misses, PAGE_BUDGET),
    "tracers that are not deleted": (tracers.list_kept, PAGE_BUDGET),
}


def workloads() -> dict[str, tuple[Work, int]]:
    """Return the lists and changes by name, each with its budget for each of its statements."""
    found: dict[str, tuple[Work, int]] = {"deliveries": (_deliveries(), PAGE_BUDGET)}
    for scope in (None, PARTNER):
        found[f"unwatched of {scope or 'all'}"] = (_unwatched(scope), PAGE_BUDGET)
    for state in DeliveryState:
        found[f"deliveries {state}"] = (_deliveries(state=state), PAGE_BUDGET)
        found[f"deliveries {state} events"] = (_deliveries(state=state, kind=EventKind.EVENTS), PAGE_BUDGET)
    for kind in EventKind:
        found[f"deliveries of {kind}"] = (_deliveries(kind=kind), PAGE_BUDGET)
    found["deliveries of a user"] = (_deliveries(user_ids=[USER]), PAGE_BUDGET)
    for state in (DeliveryState.FAILED, DeliveryState.CANCELLED):
        found[f"replay {state}"] = (_replay(state), BULK_BUDGET)
    for kind_or_all in (None, EventKind.EVENTS):
        found[f"cancel {kind_or_all or 'all'}"] = (_cancel(kind_or_all), BULK_BUDGET)
    found |= {
        "counts of deliveries by state": (_state_counts, PAGE_BUDGET),
        "names of partners": (delivery_details.list_partner_names, 100),
        "backlog of an endpoint": (lambda db: endpoints.measure_backlog(db, ENDPOINT), PAGE_BUDGET),
        "last attempts of an endpoint": (_last_attempts, BULK_BUDGET),
        "first posts of an endpoint": (_first_posts, PAGE_BUDGET),
        "users": (_users(None), PAGE_BUDGET),
        "users, second page": (_users(PageStart("user3@example.com", 3)), PAGE_BUDGET),
        "user by tag": (_user_by_tag, 300),  # the first call of proven_alive_at reads the catalogue
        "users of a tag": (lambda db: history.user_ids_by_tag(db, PARTNER, TAG), 100),
        "users by command": (_listed_users, PAGE_BUDGET),
        "mailboxes": (_mailboxes(MailboxFilter(CONNECTION)), PAGE_BUDGET),
        "mailboxes by address": (_mailboxes(MailboxFilter(CONNECTION, email="user3")), PAGE_BUDGET),
        "mailboxes by tag": (_mailboxes(MailboxFilter(CONNECTION, tag="tag3")), PAGE_BUDGET),
        "archived mailboxes": (_mailboxes(MailboxFilter(CONNECTION, MailboxScope.ARCHIVED)), PAGE_BUDGET),
        "mailboxes of each scope": (
            lambda db: mailbox_lists.count_scopes(db, CONNECTION, looked=LOOKED_ROWS),
            PAGE_BUDGET,
        ),
        "troubled mailboxes": (_troubled, PAGE_BUDGET),
        "connections of a partner": (lambda db: partner_lists.list_connections(db, PARTNER), PAGE_BUDGET),
        "quotas of a partner": (
            lambda db: partner_lists.list_quota_uses(db, PARTNER, looked=LOOKED_ROWS),
            PAGE_BUDGET,
        ),
        "who archived a mailbox": (_archived_by, 100),
        "what an address names": (_find("user4000@example.com"), PAGE_BUDGET),
        "what no address names": (_find("nobody@example.com"), PAGE_BUDGET),
        "what a tag names": (_find(TAG), PAGE_BUDGET),
        "what a number names": (_find("4000"), PAGE_BUDGET),
        "what a webhook id names": (_find("msg_"), PAGE_BUDGET),
        "page of a mailbox": (lambda db: mailboxes.read(db, USER), 400),
        "newest mails": (lambda db: messages.list_newest(db, limit=LIST_ROWS), PAGE_BUDGET),
        "owner of a mail": (lambda db: messages.owner(db, USER), 100),
        "mail by Message-ID": (_by_message_id, BULK_BUDGET),
        "latest of everything": (changes.read_latest, 100),
        "overview of a partner": (lambda db: partner_overview.read(db, PARTNER), PAGE_BUDGET),
        "troubled mailboxes of a partner": (
            lambda db: partner_overview.list_troubled(db, PARTNER, status=None),
            PAGE_BUDGET,
        ),
        "messages": (_messages(None), PAGE_BUDGET),
        "messages that are duplicates": (_messages(MailOutcome.DUPLICATE), PAGE_BUDGET),
    }
    return found | TRACERS


async def run(db: AsyncSession, work: Work, record: Record) -> None:
    """Do the work, and call `record` with each of its statements before it runs."""
    connection = (await db.connection()).sync_connection

    def before(_1: Any, _2: Any, statement: str, parameters: tuple[Any, ...], _3: Any, _4: Any) -> None:
        await_only(record(statement, parameters))

    event.listen(connection, "before_cursor_execute", before)
    try:
        await work(db)
    finally:
        event.remove(connection, "before_cursor_execute", before)
        await db.rollback()


async def driver_of(db: AsyncSession) -> asyncpg.Connection:
    """Return the connection of the driver, within the transaction of the session."""
    return (await (await db.connection()).get_raw_connection()).driver_connection


def _find(given: str) -> Work:
    delivery_id = UUID(int=7) if given == "msg_" else None
    return lambda db: finding.find(db, given, delivery_id=delivery_id)


async def _by_message_id(db: AsyncSession) -> None:
    await messages.find_by_header(db, await db.get_one(User, USER), "<7@example.com>", limit=LIST_ROWS)


async def _archived_by(db: AsyncSession) -> None:
    await audit.find_change(db, partner_id=PARTNER, object_id=USER, at=datetime(2026, 1, 1, tzinfo=UTC))


def _unwatched(partner_id: int | None) -> Work:
    status = UserStatus.AUTHENTICATION_FAILED
    return lambda db: troubled_lists.export_troubled(db, status, partner_id=partner_id, limit=LIST_ROWS)


def _deliveries(**chosen: Any) -> Work:
    return lambda db: history.list_deliveries(
        db, DeliveryFilter(partner_id=PARTNER, **chosen), limit=LIST_ROWS
    )


def _replay(state: DeliveryState) -> Work:
    return lambda db: replay.replay(db, DeliveryFilter(partner_id=PARTNER, state=state), limit=BULK_ROWS)


def _cancel(kind: EventKind | None) -> Work:
    which = DeliveryFilter(partner_id=PARTNER, state=DeliveryState.PENDING, kind=kind)
    return lambda db: replay.cancel(db, which, limit=BULK_ROWS)


async def _state_counts(db: AsyncSession) -> None:
    await delivery_details.count_states(db, PARTNER, None)


async def _last_attempts(db: AsyncSession) -> None:
    endpoint = await db.get_one(Endpoint, ENDPOINT)
    await endpoints.list_last_attempts(db, Vault.from_setting(generate_key()), endpoint, limit=LIST_ROWS)


async def _first_posts(db: AsyncSession) -> None:
    await endpoints.list_first_posts(db, await db.get_one(Endpoint, ENDPOINT))


def _users(after: PageStart | None) -> Work:
    async def work(db: AsyncSession) -> None:
        await users.list(db, await db.get_one(Connection, CONNECTION), after=after, limit=LIST_ROWS)

    return work


async def _user_by_tag(db: AsyncSession) -> None:
    await users.by_tag(db, await db.get_one(Connection, CONNECTION), TAG)


async def _listed_users(db: AsyncSession) -> None:
    await statuses.list_users(db, await db.get_one(Connection, CONNECTION), limit=LIST_ROWS)


def _mailboxes(which: MailboxFilter) -> Work:
    async def work(db: AsyncSession) -> None:
        await mailbox_lists.list_page(db, which, limit=LIST_ROWS, looked=LOOKED_ROWS)

    return work


async def _troubled(db: AsyncSession) -> None:
    await troubled_lists.count_troubled(db, CONNECTION)
    await troubled_lists.list_troubled(db, CONNECTION, UserStatus.STALLED, limit=LIST_ROWS)


def _messages(outcome: MailOutcome | None) -> Work:
    async def work(db: AsyncSession) -> None:
        await messages.list_latest(db, await db.get_one(User, USER), limit=LIST_ROWS, outcome=outcome)

    return work
