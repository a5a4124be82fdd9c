"""Sending of a tracer by SMTP (RFC 6409), signed in as the mailbox itself, over TLS only."""

import asyncio
import contextlib
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from superimap.core.errors import SuperImapError
from superimap.imap import transport
from superimap.imap.errors import ImapError
from superimap.imap.peer import LookUp
from superimap.imap.redaction import without_secrets
from superimap.imap.transport import Guard
from superimap.imap.types import Credentials, Login, ServerAddress

if TYPE_CHECKING:
    from aiosmtplib import SMTP

MAX_ANSWER_CHARACTERS = 200
"""Of what a mail server answered, as it is kept."""
LINGER_SECONDS = 2.0
DEFAULT_PORTS = {"starttls": 587, "tls": 465}

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


class NotSent(SuperImapError):
    """The tracer was not sent. With `is_certain` false it may have been: the answer to its content is missing."""

    def __init__(self, reason: str, *, is_certain: bool = True) -> None:
        super().__init__(reason)
        self.is_certain = is_certain


@dataclass(frozen=True, slots=True)
class SmtpRoute:
    """An SMTP server, how its connections are secured (`tls` or `starttls`), and our name in EHLO."""

    host: str
    port: int
    tls: str
    own_name: str


@dataclass(frozen=True, slots=True)
class SmtpSender:
    """Sender of mails by SMTP. Each address is checked by `guard` before it is dialled; TLS is verified.

    `seconds` are for everything from the name to the last answer. aiosmtplib takes 32 KiB of one answer at most.
    """

    guard: Guard
    look_up: LookUp
    seconds: float

    async def send(self, route: SmtpRoute, credentials: Credentials, address: str, raw: bytes) -> None:
        """Send a mail from `address` to itself. Raises NotSent, without a secret even if the server echoes it."""
        from aiosmtplib import SMTPException, SMTPResponseException  # noqa: PLC0415 - only where it is used

        progress = _Progress()
        try:
            async with asyncio.timeout(self.seconds):
                await self._send(route, credentials, address, raw, progress)
        except SMTPResponseException as error:
            said = _printable(without_secrets(f"{error.code} {error.message}", credentials))
            raise NotSent(f"{progress.doing}: the SMTP server answered {said}") from None
        except (SMTPException, ImapError, ValueError, OSError, TimeoutError) as error:
            reason = _printable(without_secrets(str(error), credentials)) or f"more than {self.seconds:g} s"
            is_certain = not progress.is_content_sent
            raise NotSent(f"{progress.doing}: {reason}", is_certain=is_certain) from None

    async def _send(
        self, route: SmtpRoute, credentials: Credentials, address: str, raw: bytes, progress: "_Progress"
    ) -> None:
        from aiosmtplib import SMTP, SMTPException  # noqa: PLC0415

        server = ServerAddress(route.host, route.port)
        sock = await transport.dial(server, guard=self.guard, within=self.seconds, look_up=self.look_up)
        client = SMTP(
            hostname=route.host,
            sock=sock,
            local_hostname=route.own_name,
            timeout=self.seconds,
            use_tls=route.tls == "tls",
            start_tls=route.tls == "starttls",
            tls_context=transport.shared_tls_context(),
        )
        try:
            await client.connect()
            progress.doing = "signing in"
            await _sign_in(client, credentials)
            progress.doing = "sending"
            await client.mail(address)
            await client.rcpt(address)
            progress.is_content_sent = True
            await client.data(raw)
            with contextlib.suppress(
                SMTPException
            ):  # the mail is accepted, whatever becomes of the connection
                if client.protocol is not None:
                    client.protocol.write(b"QUIT\r\n")
        finally:
            _close(client, sock)


@dataclass(slots=True)
class _Progress:
    """How far the dialogue came. After the content was sent, only an answer says whether it was accepted."""

    doing: str = "connecting"
    is_content_sent: bool = False


def _close(client: "SMTP", sock: socket.socket) -> None:
    """Close the connection; a server that does not answer the end of TLS holds it for LINGER_SECONDS more."""
    connection = client.transport
    if isinstance(connection, asyncio.WriteTransport):
        connection.close()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, connection.abort)
    else:
        sock.close()


async def _sign_in(client: "SMTP", credentials: Credentials) -> None:
    """Sign in by XOAUTH2, PLAIN or LOGIN; by one only, because refused logins lock accounts."""
    await client.ehlo()
    if not isinstance(credentials, Login):
        await client.auth_xoauth2(credentials.username, credentials.access_token)
    elif "plain" in client.server_auth_methods or "login" not in client.server_auth_methods:
        await client.auth_plain(credentials.username, credentials.password)
    else:
        await client.auth_login(credentials.username, credentials.password)


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()[:MAX_ANSWER_CHARACTERS]
