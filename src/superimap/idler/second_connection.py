"""A further connection to a mailbox, for tracers and sweeps, beside the session that watches it."""

import contextlib
from collections.abc import AsyncIterator

from superimap.db.watching.sessions import WatchedUser
from superimap.idler.context import IdlerContext
from superimap.idler.rooms import SessionRoom
from superimap.idler.sign_in import load_credentials
from superimap.imap.client import ImapClient
from superimap.imap.connection import connect
from superimap.imap.types import Limits, ServerAddress

FEW_HEADERS = Limits(line=64 * 1024, literal=1024 * 1024, response=1024 * 1024, responses=2000)
"""What the server may send that is asked for a few headers at most."""


@contextlib.asynccontextmanager
async def connected(
    context: IdlerContext,
    watched: WatchedUser,
    *,
    limits: Limits = FEW_HEADERS,
    room: SessionRoom | None = None,
) -> AsyncIterator[ImapClient]:
    """Open a session as the mailbox, within the limits of logins and of the server's shares; log out at the end.

    `limits` bound what the server may send, and `room` is the memory of the connection. Raises any ImapError,
    TokenRefused, TokenUnavailable, VaultError.
    """
    credentials, _ = await load_credentials(watched, context)
    server = ServerAddress(watched.imap_host, watched.imap_port, watched.imap_tls)
    async with contextlib.AsyncExitStack() as stack:
        slot = context.logins.slot(
            watched.imap_host, watched.logins_per_second, is_named=watched.has_own_server
        )
        async with slot:
            client = await stack.enter_async_context(
                connect(
                    server,
                    credentials,
                    timeouts=context.timing.timeouts,
                    limits=limits,
                    guard=context.guard.check,
                    client_id=context.client_id,
                    peer=context.peers.peer(watched, room or context.peers.room(watched)),
                )
            )
        yield client
