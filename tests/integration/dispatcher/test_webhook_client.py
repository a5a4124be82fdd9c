"""The HTTP client for webhooks limits what a receiver can do: time, size, redirects, cookies and addresses."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme
from aiohttp import web

from superimap.core.egress import WEBHOOK_PORTS_REFUSED, Guard
from superimap.dispatcher.answer_reader import MAX_ANSWER_BYTES
from superimap.dispatcher.webhook_client import PostResult, WebhookClient, open_client
from superimap.testing import WebhookSink
from tests.support.tls import server_context

LOOPBACK = Guard([ipaddress.ip_network("127.0.0.0/8")])
Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def receiver(talk: Conversation, **options: object) -> AsyncIterator[int]:
    """Run a server that reads a request and then calls `talk`; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def post(url: str, *, guard: Guard = LOOPBACK, deadline: float = 5.0, **options: object) -> PostResult:
    async with open_client(guard, deadline=deadline, **options) as made:
        return await made.post(url, b"{}", {})


async def test_an_answer_of_10_gb_is_read_for_16_kib_and_closed():
    closed = asyncio.Event()

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 10000000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except OSError:
            closed.set()

    async with receiver(flood) as port:
        answer = await post(f"http://127.0.0.1:{port}/")
        async with asyncio.timeout(5):
            await closed.wait()

    assert (answer.status, answer.error, len(answer.body)) == (500, None, MAX_ANSWER_BYTES)


@pytest.mark.parametrize("status", [200, 500])
async def test_a_slow_body_is_cut_at_the_deadline_and_the_status_counts(status: int):
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 1000\r\n\r\n" % status)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with receiver(trickle) as port:
        answer = await post(f"http://127.0.0.1:{port}/", deadline=0.3)

    assert (answer.status, answer.error) == (status, "timeout")
    assert answer.milliseconds < 2000


@pytest.mark.parametrize(
    ("start", "line", "status"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\n", b"X-Long: " + b"x" * 100 + b"\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 100 + b"\r\nx\r\n", 200),
    ],
    ids=["interim", "headers", "chunks"],
)
async def test_endless_headers_are_read_for_a_bounded_length(start: bytes, line: bytes, status: int | None):
    async def stutter(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(line * 100)
            await writer.drain()

    async with receiver(stutter) as port:
        answer = await post(f"http://127.0.0.1:{port}/", deadline=5.0)

    assert (answer.status, answer.error) == (status, "protocol")


async def test_an_answer_that_is_not_http_is_a_failure():
    async def gibber(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK IMAP4rev1 ready\r\n")

    async with receiver(gibber) as port:
        assert (await post(f"http://127.0.0.1:{port}/")).error == "protocol"


async def test_a_server_that_hangs_up_is_a_failure():
    async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        pass

    async with receiver(hang_up) as port:
        assert (await post(f"http://127.0.0.1:{port}/")).error == "closed"


async def test_a_closed_port_is_a_failure():
    async with receiver(lambda *_: asyncio.sleep(0)) as port:
        pass
    assert (await post(f"http://127.0.0.1:{port}/")).error == "connect"


async def test_a_name_that_does_not_resolve_is_a_failure():
    assert (await post("http://nobody.invalid/")).error == "dns"


async def test_a_compressed_answer_is_not_decompressed():
    bomb = gzip.compress(b"\0" * 10_000_000)
    headers = {"Content-Encoding": "gzip"}
    async with WebhookSink(answer=lambda _: web.Response(body=bomb, headers=headers)) as sink:
        answer = await post(sink.url())
        assert sink.received[0].headers["accept-encoding"] == "identity"

    assert (answer.status, answer.error) == (200, None)
    assert len(answer.body) <= len(bomb)


async def test_a_redirect_is_not_followed_and_no_cookie_is_kept():
    headers = {"Location": "/elsewhere", "Set-Cookie": "a=b"}
    async with WebhookSink() as sink, open_client(LOOPBACK, deadline=5) as made:
        sink.on("/", lambda _: web.Response(status=302, headers=headers))
        answers = [await made.post(sink.url(), b"{}", {}) for _ in range(2)]

        assert [answer.status for answer in answers] == [302, 302]
        assert not sink.to("/elsewhere")
        assert "cookie" not in sink.received[1].headers


async def test_a_connection_is_reused():
    async with WebhookSink() as sink, open_client(LOOPBACK, deadline=5) as made:
        for _ in range(3):
            assert (await made.post(sink.url(), b"{}", {})).status == 200
        runner = sink._runner
        assert runner is not None and runner.server is not None
        assert len(runner.server.connections) == 1


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with WebhookSink() as sink:
        assert (await post(sink.url())).status == 200


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize(
    ("name", "days", "trusted", "expected"),
    [
        ("localhost", 1, True, (200, None)),
        ("localhost", -1, True, (None, "certificate_expired")),
        ("other.test", 1, True, (None, "certificate_host")),
        ("localhost", 1, False, (None, "certificate_untrusted")),
    ],
)
async def test_certificates_are_verified(
    authority: trustme.CA, name: str, days: int, trusted: bool, expected: tuple[int | None, str | None]
):
    async def fine(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    ours = ssl.create_default_context()
    if trusted:
        authority.configure_trust(ours)
    async with receiver(fine, ssl=server_context(authority, host=name, days=days)) as port:
        answer = await post(f"https://localhost:{port}/", tls=ours)

    assert (answer.status, answer.error) == expected


async def test_a_server_without_tls_is_a_failure():
    async with WebhookSink() as sink:
        answer = await post(f"https://localhost:{sink.port}/")

    assert (answer.status, answer.error) == (None, "tls")


async def test_slow_lookups_of_names_block_no_other_lookup(monkeypatch: pytest.MonkeyPatch):
    """The system's resolver blocks one thread for each lookup."""
    released, real = threading.Event(), socket.getaddrinfo

    def slowly(host: str, *more: object, **options: object) -> object:
        if host.endswith(".slow.test"):
            released.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "too late")
        return real(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    async with WebhookSink() as sink, open_client(LOOPBACK, deadline=1.0, max_lookups=100) as sending:
        slow = [
            asyncio.create_task(sending.post(f"http://n{number}.slow.test/", b"{}", {}))
            for number in range(80)
        ]
        await asyncio.sleep(0)
        good = await sending.post(f"http://localhost:{sink.port}/", b"{}", {})
        answers = await asyncio.gather(*slow)
        released.set()

    assert good.status == 200
    assert {answer.error for answer in answers} == {"timeout"}
    assert max(answer.milliseconds for answer in answers) < 5000


SPELLINGS = """
    127.0.0.1 localhost 127.1 0x7f.1 0x7f000001 2130706433 0177.0.0.1 ①②⑦.0.0.1 0 [::1] [::] [::ffff:127.0.0.1]
    [::ffff:10.0.0.1] [::127.0.0.1] [64:ff9b::7f00:1] [2002:7f00:1::] 169.254.169.254 10.0.0.1 [fe80::1] [ff02::1]
"""


@pytest.mark.parametrize("host", SPELLINGS.split())
async def test_no_spelling_of_a_private_address_is_dialled(host: str):
    async with WebhookSink() as sink:
        answer = await post(f"http://{host}:{sink.port}/", guard=Guard(), deadline=3)

        assert answer.status is None
        assert answer.error in ("egress_blocked", "url", "dns")
        assert sink.count == 0
    if host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"):
        assert answer.error == "egress_blocked"


@pytest.mark.parametrize("port", [25, 5432, 6379])
async def test_ports_of_other_servers_are_not_dialled(port: int):
    answer = await post(f"http://8.8.8.8:{port}/", guard=Guard(refused_ports=WEBHOOK_PORTS_REFUSED))

    assert answer.error == "egress_blocked"


async def test_a_name_that_changes_from_public_to_private_is_checked_at_each_connection(
    monkeypatch: pytest.MonkeyPatch,
):
    """DNS rebinding: the address that is dialled is the one that is checked."""
    async with WebhookSink() as sink:
        real = socket.getaddrinfo

        def rebinding(host: str, *more: object, **options: object) -> object:
            return real("127.0.0.1" if host == "rebind.test" else host, *more, **options)

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        blocked = await post(f"http://rebind.test:{sink.port}/", guard=Guard())
        passed = await post(f"http://rebind.test:{sink.port}/", guard=LOOPBACK)

        assert (blocked.error, passed.status, sink.count) == ("egress_blocked", 200, 1)
        assert sink.received[0].headers["host"] == f"rebind.test:{sink.port}"


@pytest.mark.parametrize(
    "url", ["ftp://a/", "http://u:p@127.0.0.1/", "http://", "//x", "", "http://[::1", "http://a:b/"]
)
async def test_a_malformed_url_is_not_dialled(url: str):
    assert (await post(url)).error == "url"


async def test_a_cancelled_post_leaves_nothing_behind():
    async def hang(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with receiver(hang) as port, open_client(LOOPBACK, deadline=60) as made:
        task = asyncio.create_task(_post_to(made, port))
        await asyncio.sleep(0.05)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert time.monotonic() - started < 1


async def _post_to(made: WebhookClient, port: int) -> PostResult:
    return await made.post(f"http://127.0.0.1:{port}/", b"{}", {})
