"""A well-formed final status line is an answer, whatever follows; the connection of an odd answer is dropped."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable

import pytest
import trustme

from superimap.core.egress import Guard
from superimap.dispatcher import connections
from superimap.dispatcher.webhook_client import WebhookClient, open_client
from superimap.webhooks.urls import check_url
from tests.support.odd_answers import BARE, FINE, HEADERS, ODD_ANSWERS, OddAnswer
from tests.support.tls import client_context, server_context

LOOPBACK = Guard([ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")])


class Receiver:
    """A server that reads whole requests and answers each with the bytes that `script` gives.

    `script` gets the number of the request, from 1, and returns the bytes and what happens then.
    """

    def __init__(self, script: Callable[[int], tuple[bytes, str]]) -> None:
        self._script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            ending = "keeps"
            while ending == "keeps":
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer, ending = self._script(len(self.requests))
                writer.write(answer)
                await writer.drain()
            if ending == "resets":
                reset(writer)
        writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.asynccontextmanager
async def receiver(
    script: Callable[[int], tuple[bytes, str]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    made = Receiver(script)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def client(deadline: float = 5.0) -> contextlib.AbstractAsyncContextManager[WebhookClient]:
    return open_client(LOOPBACK, deadline=deadline, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def always(answer: bytes, ending: str = "keeps") -> Callable[[int], tuple[bytes, str]]:
    return lambda _: (answer, ending)


@pytest.mark.parametrize("odd", ODD_ANSWERS, ids=lambda odd: odd.name)
async def test_what_counts_as_an_answer_and_whether_the_connection_is_kept(odd: OddAnswer):
    def script(number: int) -> tuple[bytes, str]:
        return (odd.sent, odd.ending) if number == 1 else (FINE, "keeps")

    async with receiver(script) as server, client() as made:
        url = f"http://127.0.0.1:{server.port}/"
        answer = await made.post(url, b"{}", {})
        again = await made.post(url, b"{}", {})

        assert (answer.status, answer.error, answer.body) == (odd.status, odd.error, odd.body)
        assert (again.status, again.error, again.body) == (200, None, "ok")
        assert (len(server.requests), server.connections) == (2, 1 if odd.is_reused else 2)


async def test_a_pause_in_the_headers_ends_at_the_deadline_and_the_status_counts():
    async with receiver(always(BARE + b"X-Slow: ")) as server, client(deadline=0.2) as made:
        answer = await made.post(f"http://127.0.0.1:{server.port}/", b"{}", {})

    assert (answer.status, answer.error) == (200, "timeout")


async def test_retry_after_of_a_malformed_answer_is_respected():
    busy = b"HTTP/1.1 429 Slow\r\nno colon\r\nRetry-After:\r\n 17\r\nContent-Length: -1\r\n\r\n"
    async with receiver(always(busy)) as server, client() as made:
        answer = await made.post(f"http://127.0.0.1:{server.port}/", b"{}", {})

    assert (answer.status, answer.retry_after, answer.error) == (429, "17", "protocol")


async def test_bytes_that_come_between_two_requests_answer_neither():
    """A second answer, sent in advance, must not count as the answer to the next request."""
    sent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(FINE)
        await writer.drain()
        await sent.wait()
        writer.write(FINE.replace(b"200", b"299"))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client() as made:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        first = await made.post(url, b"{}", {})
        sent.set()
        async with asyncio.timeout(2):  # an idle connection lives for 4 s
            while any(made._connector._conns.values()) and all(
                each.is_connected() for kept in made._connector._conns.values() for each, _ in kept
            ):
                await asyncio.sleep(0)
        second = await made.post(url, b"{}", {})

    assert (first.status, second.status) == (200, 200)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


BIG = b"x" * 8_000_000


@pytest.mark.parametrize(
    ("sent", "is_big", "expected"),
    [
        (FINE, False, (200, None, "ok")),
        (BARE + b"\r\nok", False, (200, None, "ok")),
        (BARE, False, (200, "closed", "")),
        (b"", False, (None, "closed", "")),
        (FINE, True, (200, None, "ok")),
    ],
    ids=["complete", "no_length", "cut_in_headers", "nothing", "body_of_8_mb"],
)
async def test_tls_that_ends_without_close_notify_is_an_end(
    authority: trustme.CA, sent: bytes, is_big: bool, expected: tuple[int | None, str | None, str]
):
    trust = client_context(authority)
    body = BIG if is_big else b"{}"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(body))
        writer.write(sent)
        await writer.drain()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(authority))
    port = server.sockets[0].getsockname()[1]
    async with server, open_client(LOOPBACK, deadline=5, tls=trust) as made:
        answer = await made.post(f"https://localhost:{port}/", body, {})

    assert (answer.status, answer.error, answer.body) == expected


@pytest.mark.parametrize("status", [200, 413])
@pytest.mark.parametrize("ending", ["keeps", "closes", "resets"])
async def test_an_answer_that_comes_before_the_body_is_sent_counts(status: int, ending: str):
    """A refusal ends the request. After a 2xx the rest is sent: receivers may read it after they answered."""
    received, is_over = 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        writer.write(FINE.replace(b"200", str(status).encode()))
        await writer.drain()
        with contextlib.suppress(OSError):
            while ending == "keeps" and (piece := await reader.read(1 << 20)):
                received += len(piece)
                if received == len(BIG):
                    break
        if ending == "resets":
            reset(writer)
        writer.close()
        is_over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client() as made:
        answer = await made.post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", BIG, {})
    async with asyncio.timeout(5):
        await is_over.wait()

    assert answer.status == status
    assert answer.milliseconds < 4000
    if (status, ending) == (200, "keeps"):
        assert received == len(BIG)


async def test_an_answer_counts_although_the_connection_is_lost_while_writing():
    """The receiver answers, and closes with unread data: writing fails before the loop has read the answer."""

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(FINE.replace(b"200", b"413"))

    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with client() as made:
            answers = await asyncio.gather(*(made.post(url, BIG, {}) for _ in range(20)))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()

    assert {(answer.status, answer.error) for answer in answers} == {(413, None)}


@pytest.mark.parametrize(("status", "error"), [(200, "timeout"), (413, None)])
async def test_a_receiver_that_answers_and_reads_no_body_is_waited_for_only_after_a_2xx(
    status: int, error: str | None, monkeypatch: pytest.MonkeyPatch
):
    is_over, is_closed = asyncio.Event(), asyncio.Event()

    class Connection(connections.ReceiverConnection):
        def connection_lost(self, exc: BaseException | None) -> None:
            is_closed.set()
            super().connection_lost(exc)

    monkeypatch.setattr(connections, "ReceiverConnection", Connection)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(FINE.replace(b"200", str(status).encode()))
        await is_over.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client(deadline=0.5) as made:
        answer = await made.post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", BIG, {})
        async with asyncio.timeout(2):
            await is_closed.wait()  # although the receiver has not read what was sent
        is_over.set()

    assert (answer.status, answer.error) == (status, error)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("ending", ["closes", "resets"])
async def test_a_request_on_a_connection_that_was_just_closed_is_sent_again_at_once(
    authority: trustme.CA, scheme: str, ending: str
):
    def script(number: int) -> tuple[bytes, str]:
        return (b"", ending) if number == 2 else (FINE, "keeps")

    tls = server_context(authority) if scheme == "https" else None
    trust = client_context(authority)
    async with receiver(script, tls=tls) as server, open_client(LOOPBACK, deadline=5, tls=trust) as made:
        url = f"{scheme}://localhost:{server.port}/"
        for _ in range(2):
            answer = await made.post(url, b"{}", {"webhook-id": "msg_1"})
            assert (answer.status, answer.error) == (200, None)

        assert server.connections == 2
        assert len(server.requests) == 3
        assert server.requests[1] == server.requests[2]


async def test_a_request_is_sent_again_only_once_and_on_a_new_connection():
    """All kept connections may be dead: after a restart of the receiver each would cost a try."""
    released = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while await reader.read(4096):
            served += 1
            if released.is_set():
                break
            if served == 5:
                released.set()
            await released.wait()
            writer.write(FINE)
        writer.close()

    served = 0
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client() as made:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        kept = await asyncio.gather(*(made.post(url, b"{}", {}) for _ in range(5)))
        answer = await made.post(url, b"{}", {})

    assert {each.status for each in kept} == {200}
    assert (answer.status, answer.error, served) == (None, "closed", 7)


@pytest.mark.parametrize("status", [408, 421])
async def test_an_answer_that_concerns_a_reused_connection_is_no_answer_to_the_request(status: int):
    def script(number: int) -> tuple[bytes, str]:
        return (FINE.replace(b"200", str(status).encode()), "closes") if number % 2 == 0 else (FINE, "keeps")

    async with receiver(script) as server, client() as made:
        url = f"http://127.0.0.1:{server.port}/"
        answers = [await made.post(url, b"{}", {}) for _ in range(2)]

        assert [answer.status for answer in answers] == [200, 200]
        assert (server.connections, len(server.requests)) == (2, 3)


async def test_the_same_answer_on_a_new_connection_counts():
    async with receiver(always(FINE.replace(b"200", b"408"), "closes")) as server, client() as made:
        answer = await made.post(f"http://127.0.0.1:{server.port}/", b"{}", {})

        assert (answer.status, len(server.requests)) == (408, 1)


@pytest.mark.parametrize(("later", "connections"), [(0.7, 1), (0.9, 2)])
async def test_a_connection_is_used_for_most_of_the_time_that_its_receiver_names(
    later: float, connections: int, monkeypatch: pytest.MonkeyPatch
):
    loop = asyncio.get_running_loop()
    real = loop.time
    async with receiver(always(BARE + b"Keep-Alive: timeout=1\r\n" + HEADERS)) as server, client() as made:
        url = f"http://127.0.0.1:{server.port}/"
        first = await made.post(url, b"{}", {})
        monkeypatch.setattr(loop, "time", lambda: real() + later)
        second = await made.post(url, b"{}", {})

        assert (first.status, second.status, server.connections) == (200, 200, connections)


TARGETS = (
    "/a%2Fb", "/a%2fb", "/a+b%20c", "/a;b=1;c", "//a//b/", "/a/../b/./c", "/..", "/?", "/a?", "/a?b?c",
    "/a?x=%2F+%20&y", "/a?x=1;y=2", "/%41%7e~", "/%E2%82%AC", "/%zz", "/a:b@c!$&'()*,=",
    "/a[1]?b[]=2", "/?a=http://b/c", "/a%00b",
)  # fmt: skip


@pytest.mark.parametrize("target", [*TARGETS, "", "?x=1"])
async def test_path_and_query_are_sent_exactly_as_registered(target: str):
    async with receiver(always(FINE)) as server, client() as made:
        url = check_url(f"http://127.0.0.1:{server.port}{target}", field="url")
        answer = await made.post(url, b"{}", {})

        assert answer.status == 200
        line, host, *_ = server.requests[0].split(b"\r\n")
        assert line.decode() == f"POST {target if target.startswith('/') else '/' + target} HTTP/1.1"
        assert host.decode() == f"Host: 127.0.0.1:{server.port}"


HOSTS = (
    "app.example.com", "APP.Example.COM", "app.example.com.", "a_b.example.com", "_a.example.com", "xn--i-7iq.ws",
    "xn--ls8h.la", "XN--BCHER-KVA.example", "xn--a", "a--b.example", "1a.example", "localhost",
    "a" * 63 + ".example", ".".join(["a" * 49] * 5),
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
async def test_each_host_that_is_accepted_is_dialled(host: str, monkeypatch: pytest.MonkeyPatch):
    """The check at creation and the sender agree; DNS alone decides whether a name exists."""
    real, asked = socket.getaddrinfo, []

    def resolve(name: str, *more: object, **options: object) -> object:
        asked.append(name)
        return real("127.0.0.1", *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with receiver(always(FINE)) as server, client() as made:
        answer = await made.post(check_url(f"http://{host}:{server.port}/", field="url"), b"{}", {})

        assert (answer.status, asked) == (200, [host.lower()])
        sent = server.requests[0].decode().partition("Host: ")[2].partition("\r\n")[0]
        assert sent == f"{host.lower().removesuffix('.')}:{server.port}"


async def test_a_name_whose_ipv6_address_is_dead_is_reached_by_ipv4(monkeypatch: pytest.MonkeyPatch):
    real = socket.getaddrinfo

    def resolve(name: str, port: int, *more: object, **options: object) -> object:
        return [*real("::1", 1, *more, **options), *real("127.0.0.1", port, *more, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with receiver(always(FINE)) as server, client() as made:
        assert (await made.post(f"http://both.test:{server.port}/", b"{}", {})).status == 200


async def test_a_temporary_failure_of_dns_is_asked_again_at_once(monkeypatch: pytest.MonkeyPatch):
    real, failures = socket.getaddrinfo, [socket.gaierror(socket.EAI_AGAIN, "SERVFAIL")]

    def resolve(name: str, *more: object, **options: object) -> object:
        if failures:
            raise failures.pop()
        return real("127.0.0.1", *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with receiver(always(FINE)) as server, client() as made:
        assert (await made.post(f"http://flaky.test:{server.port}/", b"{}", {})).status == 200


async def test_an_address_that_refuses_is_resolved_again(monkeypatch: pytest.MonkeyPatch):
    """A receiver that moves to another address is found by the next attempt."""
    real, addresses = socket.getaddrinfo, ["127.0.0.2", "127.0.0.1"]

    def resolve(name: str, *more: object, **options: object) -> object:
        return real(addresses.pop(0), *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with receiver(always(FINE)) as server, client() as made:
        answers = [await made.post(f"http://moving.test:{server.port}/", b"{}", {}) for _ in range(2)]

    assert [(answer.status, answer.error) for answer in answers] == [(None, "connect"), (200, None)]
