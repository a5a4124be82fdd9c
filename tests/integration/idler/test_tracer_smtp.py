"""SMTP servers that hang, lie, flood or echo secrets: no tracer is sent, in bounded time; no secret is kept."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme

from superimap.core.egress import Guard
from superimap.idler.tracer_smtp import MAX_ANSWER_CHARACTERS, NotSent, SmtpRoute, SmtpSender
from superimap.imap import transport
from superimap.imap.types import Login, OAuth

SECRET = "correct horse battery"
JOE = Login("joe@example.com", SECRET)
RAW = b"Subject: TRACER: x\r\n\r\n"
OFFER = b"250-mail.example\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250 STARTTLS\r\n"
FLOOD = b"250-" + b"x" * 70_000


class Dialogue:
    """A server that answers each command by a table, and notes what it was sent in clear text and over TLS.

    Of an answer that is None nothing is sent; with b"" the connection ends.
    """

    def __init__(self, context: ssl.SSLContext, **answers: bytes | None) -> None:
        self._context = context
        self._answers = {
            "greeting": b"220 mail.example\r\n", "EHLO": OFFER, "STARTTLS": b"220 go\r\n", "AUTH": b"235 yes\r\n",
            "MAIL": b"250 ok\r\n", "RCPT": b"250 ok\r\n", "DATA": b"354 go\r\n", "content": b"250 queued\r\n",
            "QUIT": b"221 bye\r\n",
        } | answers  # fmt: skip
        self.clear: list[bytes] = []
        self.secure: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = self.clear
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._say(writer, "greeting")
            while line := await reader.readline():
                heard.append(line)
                word = line.split()[0].decode().upper() if line.strip() else ""
                await self._say(writer, word)
                if word == "STARTTLS" and (self._answers["STARTTLS"] or b"").startswith(b"220"):
                    await writer.start_tls(self._context)
                    heard = self.secure
                if word == "DATA":
                    heard.append(await reader.readuntil(b"\r\n.\r\n"))
                    await self._say(writer, "content")
        writer.close()

    async def _say(self, writer: asyncio.StreamWriter, word: str) -> None:
        answer = self._answers.get(word, b"500 what\r\n")
        if answer == b"":
            raise OSError
        if answer is None:
            await asyncio.sleep(60)
        writer.write(answer or b"")
        await writer.drain()


@pytest.fixture
def certificates(monkeypatch) -> ssl.SSLContext:
    """The context of a server on localhost, which our connections trust."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    monkeypatch.setattr(transport, "shared_tls_context", lambda: client)
    return server


@contextlib.asynccontextmanager
async def listening(dialogue: Dialogue) -> AsyncIterator[Callable[..., object]]:
    """Listen on loopback; yields a function that sends a mail there, as `JOE` at first."""
    server = await asyncio.start_server(dialogue.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def send(credentials=JOE, *, guard=lambda _: None, seconds=2.0, name="localhost"):
        async def look_up(_host, _port):
            return await asyncio.get_running_loop().getaddrinfo("127.0.0.1", port, type=1)

        sender = SmtpSender(guard, look_up, seconds)
        await sender.send(SmtpRoute(name, port, "starttls", "localhost"), credentials, "joe@example.com", RAW)

    try:
        yield send
    finally:
        server.close()


def words(sent: list[bytes]) -> list[str]:
    return [line.split()[0].decode() for line in sent if line.strip()]


@pytest.mark.parametrize(
    ("credentials", "auth"),
    [
        (JOE, base64.b64encode(f"\0joe@example.com\0{SECRET}".encode())),
        (OAuth("joe@example.com", "t0ken"), base64.b64encode(b"user=joe@example.com\1auth=Bearer t0ken\1\1")),
    ],
    ids=["PLAIN", "XOAUTH2"],
)
async def test_a_mail_is_sent_after_signing_in_over_tls_and_nothing_before_it(
    certificates, credentials, auth
):
    dialogue = Dialogue(certificates)
    async with listening(dialogue) as send:
        await send(credentials)

    assert words(dialogue.clear) == ["EHLO", "STARTTLS"]
    assert auth in dialogue.secure[1]
    assert dialogue.secure[-2 if words(dialogue.secure)[-1] == "QUIT" else -1].startswith(RAW)


@pytest.mark.parametrize(
    ("answers", "reason", "is_certain"),
    [
        pytest.param({"greeting": None}, "connecting: ", True, id="silent"),
        pytest.param(
            {"greeting": b"421 busy\r\n"}, "connecting: the SMTP server answered 421 busy", True, id="busy"
        ),
        pytest.param(
            {"STARTTLS": b"502 no\r\n"}, "connecting: the SMTP server answered 502 no", True, id="no TLS"
        ),
        pytest.param({"EHLO": b"250 mail.example\r\n"}, "connecting: ", True, id="TLS stripped"),
        pytest.param({"EHLO": FLOOD}, "connecting: the SMTP server answered", True, id="flood"),
        pytest.param(
            {"AUTH": b"535 no\r\n"}, "signing in: the SMTP server answered 535 no", True, id="refused"
        ),
        pytest.param({"RCPT": b"550 no\r\n"}, "sending: ", True, id="no such recipient"),
        pytest.param(
            {"content": b"554 spam\r\n"}, "sending: the SMTP server answered 554 spam", True, id="spam"
        ),
        pytest.param({"content": None}, "sending: ", False, id="silent after the content"),
        pytest.param({"content": b""}, "sending: ", False, id="ends after the content"),
    ],
)
async def test_a_failure_says_where_it_happened_and_whether_the_mail_may_have_been_sent(
    certificates, answers, reason, is_certain
):
    dialogue = Dialogue(certificates, **answers)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with listening(dialogue) as send:
        with pytest.raises(NotSent) as failure:
            await send(seconds=0.7)

    assert str(failure.value).startswith(reason)
    assert failure.value.is_certain is is_certain
    assert len(str(failure.value)) < MAX_ANSWER_CHARACTERS + 60
    assert loop.time() - began < 3
    assert not any(b"AUTH" in line for line in dialogue.clear)


async def test_a_server_that_echoes_the_login_leaves_no_secret(certificates):
    token = base64.b64encode(f"\0joe@example.com\0{SECRET}".encode())
    for echo in (SECRET.encode(), token, SECRET.upper().encode(), base64.b64encode(SECRET.encode())):
        async with listening(Dialogue(certificates, AUTH=b"535 not " + echo + b"\r\n")) as send:
            with pytest.raises(NotSent) as failure:
                await send()

        assert "535 not" in str(failure.value)
        assert echo.decode().lower() not in str(failure.value).lower()


async def test_a_forbidden_address_and_an_untrusted_name_are_not_spoken_to(certificates):
    dialogue = Dialogue(certificates)
    async with listening(dialogue) as send:
        with pytest.raises(NotSent, match="may not be dialled"):
            await send(guard=Guard().check)
        nothing = [*dialogue.clear]
        with pytest.raises(NotSent, match="connecting: "):
            await send(name="other.example")

    assert nothing == []
    assert dialogue.secure == []
