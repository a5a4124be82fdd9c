"""Resources that a process shares among its requests, and the transaction of a request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from superimap.api.key_uses import KeyUses
from superimap.api.known_keys import KnownKeys
from superimap.api.login_check import LoginSlots
from superimap.api.page_changes import Changes
from superimap.api.read_replica import ReadReplica
from superimap.api.user_batch import BatchTurns
from superimap.core.config import Settings
from superimap.core.content_store import ContentStore
from superimap.core.crypto import Vault
from superimap.core.egress import Guard
from superimap.core.resolver import Resolver
from superimap.db.accounts.link_usage import ExpiredRows
from superimap.db.accounts.room import QuotaPolicy
from superimap.domain.quotas import DEFAULT_QUOTAS, RequestBuckets
from superimap.oauth.discovery import Discovery

Ring: TypeAlias = Callable[[int], Awaitable[object]]
"""Rings the doorbell of the endpoint with this id, after the commit."""


async def no_doorbell(_: int) -> None:
    """Ring no doorbell: the sweeper finds the delivery within a second."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources that the process shares among its requests."""

    settings: Settings
    sessionmaker: async_sessionmaker[AsyncSession]
    vault: Vault
    link_keys: tuple[bytes, ...]
    ring: Ring
    guard: Guard
    resolver: Resolver
    login_slots: LoginSlots
    stop: asyncio.Event
    key_uses: KeyUses = field(default_factory=KeyUses)
    known_keys: KnownKeys = field(default_factory=KnownKeys)
    buckets: RequestBuckets = field(default_factory=RequestBuckets)
    token_buckets: RequestBuckets = field(default_factory=RequestBuckets)
    """By the id of an operator's token."""
    quota_policy: QuotaPolicy = field(default_factory=lambda: QuotaPolicy(DEFAULT_QUOTAS))
    batch_turns: BatchTurns = field(default_factory=BatchTurns)
    expired_rows: ExpiredRows = field(default_factory=ExpiredRows)
    read_replica: ReadReplica = field(default_factory=ReadReplica)
    changes: Changes = field(default_factory=Changes)
    dashboard_sessions: async_sessionmaker[AsyncSession] | None = None
    """Transactions of the dashboard, on connections of its own; None: on those of the API."""
    contents: ContentStore = field(default_factory=ContentStore)
    """Large contents of webhooks, for owners who download a mail."""
    discovery: Discovery = field(default_factory=Discovery)
    """Metadata of the provider with which operators sign in."""
    new_job: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after a job was made by this process, which then runs it at once."""


async def get_resources(request: Request) -> Resources:  # FastAPI runs other functions in threads
    """Return the resources of the application that handles the request."""
    resources: Resources = request.app.state.resources
    return resources


AppResources = Annotated[Resources, Depends(get_resources)]


async def database(resources: AppResources) -> AsyncIterator[AsyncSession]:
    """Open one transaction for the route; nothing is sent to PostgreSQL before the first statement."""
    async with resources.sessionmaker.begin() as db:
        yield db


# With this scope the commit precedes the response, so a response never reports a change that is not stored.
Db = Annotated[AsyncSession, Depends(database, scope="function")]
