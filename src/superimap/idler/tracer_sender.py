"""Sending of one tracer, by the way of its provider: SMTP, or APPEND on a connection of its own."""

import asyncio
import time
from datetime import UTC, datetime

from superimap.core.crypto import VaultError
from superimap.core.ids import uuid7
from superimap.db.watching import sessions as watching
from superimap.db.watching.sessions import WatchedUser
from superimap.db.watching.tracers import TracerTarget
from superimap.domain.providers import TracerBy
from superimap.domain.tracers import NOT_TRIED, SEND_SECONDS
from superimap.domain.users import UserStatus
from superimap.idler.context import IdlerContext
from superimap.idler.second_connection import connected
from superimap.idler.sign_in import load_credentials
from superimap.idler.tracer_smtp import DEFAULT_PORTS, NotSent, SmtpRoute, SmtpSender
from superimap.imap.errors import ImapError, Refused
from superimap.mail import tracer_mail
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

SMTP_SECONDS = SEND_SECONDS - 5
"""Time for the dialogue, so that it ends before the whole does, and says where."""


class TracerSender:
    """Sends tracers, each within SEND_SECONDS."""

    def __init__(self, context: IdlerContext) -> None:
        self._context = context
        self._smtp = SmtpSender(context.guard.check, context.peers.look_up, SMTP_SECONDS)

    async def send(self, target: TracerTarget, token: str) -> None:
        """Send a tracer with this token and return when it is accepted. Raises NotSent."""
        if (reason := NOT_TRIED.get(UserStatus(target.status))) is not None:
            raise NotSent(reason)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                watched = await watching.load(self._context.pool, target.user_id)
                if watched is None:
                    raise NotSent("the mailbox is not connected any more")
                await self._send(target, watched, token)
        except TimeoutError:
            raise NotSent(f"more than {SEND_SECONDS:g} s", is_certain=False) from None

    async def _send(self, target: TracerTarget, watched: WatchedUser, token: str) -> None:
        try:
            raw = _content(watched, token, needs_address=target.tracer_by == TracerBy.SMTP)
            if target.tracer_by == TracerBy.SMTP:
                await self._send_by_smtp(target, watched, raw)
            else:
                await self._append(watched, raw)
        except (TokenRefused, TokenUnavailable, VaultError) as error:
            raise NotSent(f"signing in: {error}") from None
        except ValueError as error:
            raise NotSent(str(error)) from None

    async def _send_by_smtp(self, target: TracerTarget, watched: WatchedUser, raw: bytes) -> None:
        if target.host_by_user or target.smtp_host is None or target.smtp_tls not in DEFAULT_PORTS:
            raise NotSent("the provider has no SMTP server with TLS to which tracers can be sent")
        credentials, _ = await load_credentials(watched, self._context)
        route = SmtpRoute(
            target.smtp_host,
            target.smtp_port or DEFAULT_PORTS[target.smtp_tls],
            target.smtp_tls,
            target.smtp_domain or "localhost",
        )
        await self._smtp.send(route, credentials, _address(watched), raw)

    async def _append(self, watched: WatchedUser, raw: bytes) -> None:
        is_begun = False
        try:
            async with connected(self._context, watched) as client:
                is_begun = True
                await client.append(raw)
        except (ImapError, OSError, TimeoutError) as error:
            is_certain = not is_begun or isinstance(error, Refused)
            raise NotSent(f"appending: {error}", is_certain=is_certain) from None


def _address(watched: WatchedUser) -> str:
    return watched.email or watched.login_username or ""


def _content(watched: WatchedUser, token: str, *, needs_address: bool) -> bytes:
    """Return the mail. Raises ValueError if it needs an address and the mailbox has none."""
    address = _address(watched)
    if not needs_address and not tracer_mail.is_address(address):
        address = "tracer@superimap.invalid"
    now = datetime.fromtimestamp(time.time(), UTC)
    return tracer_mail.build(address, token, now=now, message_id=f"<{uuid7()}@tracers.superimap.invalid>")
