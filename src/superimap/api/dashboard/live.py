"""Live pages: a stream that says when something has changed, so that a page fetches itself again.

A page in a hidden tab has closed its stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from superimap.api.dashboard import cookies
from superimap.api.errors import Problem
from superimap.api.router import PageRoute
from superimap.db.operators import sessions

if TYPE_CHECKING:
    from superimap.api.resources import Resources

PACE_SECONDS = 4.0
"""Time after which a page of a portal is fetched again."""
PAUSE_SECONDS = 15.0
"""Longest time after which a page is fetched again, for what no change announces, such as an age."""
SOON_SECONDS = 2.0
"""The same of a page that waits for something, such as the first session of a mailbox."""
STREAM_SECONDS = 25.0
"""Length of a stream, shorter than a request may take. Browsers open the next one by themselves."""
_CHANGED = b"event: changed\ndata:\n\n"


def route(door: str) -> Route:
    """Return the route of the streams of a door."""

    async def live(request: Request) -> StreamingResponse:
        resources: Resources = request.app.state.resources
        database = resources.dashboard_sessions or resources.sessionmaker
        digest = cookies.session_digest(request, door)
        async with database.begin() as db:
            opened = await sessions.find(db, digest, is_person=False) if digest is not None else None
        if opened is None:
            raise Problem(401, "Sign in first.")
        # What other partners do is no business of a portal: its pages are fetched at a pace.
        is_operator = opened.operator is not None
        pause = SOON_SECONDS if request.query_params.get("soon") else PAUSE_SECONDS
        events = _events(resources, database, pause=pause if is_operator else None)
        return StreamingResponse(events, media_type="text/event-stream")

    return PageRoute(f"/{door}/live", live, name=f"{door}.live")


async def _events(
    resources: Resources, database: async_sessionmaker[AsyncSession], *, pause: float | None
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    end = loop.time() + STREAM_SECONDS
    # Something may have changed after the page was made, or between two streams, which was announced to nobody.
    wait = SOON_SECONDS
    yield b"retry: 1000\n\n"
    async with resources.changes.stream(database):
        while (left := end - loop.time()) > 0 and not resources.stop.is_set():
            if pause is not None:
                await resources.changes.wait(min(left, wait))
                wait = pause
            else:
                await asyncio.sleep(min(left, PACE_SECONDS))
            yield _CHANGED
            await asyncio.sleep(min(resources.changes.pace(), max(0.0, end - loop.time())))
