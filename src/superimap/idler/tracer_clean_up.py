"""Deletion of detected tracers from canary mailboxes; a mailbox of a customer is never changed."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from superimap.core.crypto import VaultError
from superimap.db.failures import UNAVAILABLE
from superimap.db.watching import sessions as watching
from superimap.db.watching import tracers as queries
from superimap.db.watching.tracers import UncleanTracer
from superimap.domain.tracers import CleanUp
from superimap.idler.context import IdlerContext
from superimap.idler.second_connection import connected
from superimap.imap.client import ImapClient
from superimap.imap.errors import ImapError, Refused
from superimap.mail import message, tracer
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

log = logging.getLogger(__name__)

RETRY_SECONDS = 600.0
"""Pause after an attempt at a mailbox that failed."""
MAX_SECONDS = 60.0
"""Longest time for the tracers of one mailbox."""
GIVE_UP_SECONDS = 86_400.0
"""Age of a detected tracer that could not be deleted, after which it stays."""

_FAILURES = (ImapError, TokenRefused, TokenUnavailable, VaultError, OSError, TimeoutError)


class TracerCleanUp:
    """Deletes tracers that were detected, one mailbox at a time."""

    def __init__(self, context: IdlerContext) -> None:
        self._context = context
        self._not_before: dict[int, float] = {}

    async def run_due(self) -> None:
        """Delete the tracers of the mailbox whose turn it is. Raises nothing: the next round tries again."""
        try:
            await self._run_due()
        except UNAVAILABLE as error:
            log.debug("deletion of tracers waits for PostgreSQL: %s", type(error).__name__)
        except Exception:
            log.exception("deletion of tracers failed")

    async def _run_due(self) -> None:
        now = asyncio.get_running_loop().time()
        self._not_before = {user: until for user, until in self._not_before.items() if until > now}
        unclean = await queries.list_unclean(self._context.pool, failing=self._not_before)
        await self._record([each for each in unclean if not each.is_canary], CleanUp.KEPT)
        unclean = [each for each in unclean if each.is_canary]
        await self._record([each for each in unclean if each.folder is None], CleanUp.GONE)
        waiting = [each for each in unclean if each.folder is not None]
        if not waiting:
            return
        user_id, folder = waiting[0].user_id, waiting[0].folder
        chosen = [each for each in waiting if (each.user_id, each.folder) == (user_id, folder)]
        try:
            async with asyncio.timeout(MAX_SECONDS):
                await self._delete(user_id, folder or "", chosen)
        except _FAILURES as error:
            log.info("tracers are not deleted: %s", type(error).__name__, extra={"user_id": user_id})
            self._not_before[user_id] = now + RETRY_SECONDS
            await self._record([each for each in chosen if each.age > GIVE_UP_SECONDS], CleanUp.FAILED)

    async def _delete(self, user_id: int, folder: str, chosen: Sequence[UncleanTracer]) -> None:
        """Delete these tracers of one folder on a connection of its own."""
        watched = await watching.load(self._context.pool, user_id)
        if watched is None:
            await self._record(chosen, CleanUp.FAILED)
            return
        async with connected(self._context, watched) as client:
            if "UIDPLUS" not in client.capabilities:
                await self._record(chosen, CleanUp.NO_UIDPLUS)
                return
            selected = await client.examine(folder, by_select=True)
            present = [each for each in chosen if each.uid_validity == selected.uid_validity]
            found = [each for each in present if await _is_tracer(client, each)]
            if found:
                await client.expunge([each.uid for each in found])
        await self._record(found, CleanUp.DELETED)
        await self._record([each for each in chosen if each not in found], CleanUp.GONE)

    async def _record(self, tracers: Iterable[UncleanTracer], clean_up: CleanUp) -> None:
        await queries.record_clean_up(self._context.pool, [each.id for each in tracers], clean_up)


async def _is_tracer(client: ImapClient, wanted: UncleanTracer) -> bool:
    """Whether the mail with this UID is that tracer: nothing else is deleted, whatever the server's UIDs are."""
    try:
        header = await client.fetch_header(wanted.uid)
    except Refused:
        return False
    if header is None:
        return False
    token = tracer.token_in(message.parse(header).headers)
    return token is not None and tracer.digest(token) == wanted.token_digest
