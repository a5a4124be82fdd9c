"""The stream delivers every byte, without TLS and with it, and reports each end once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from superimap.imap import stream
from superimap.imap.read_budget import MAX_READ_BYTES
from superimap.imap.stream import Stream
from tests.support.streams import Recorder, opened
from tests.support.tls import Peer, client_context, server_context, tls_peer

MIB = 1 << 20
BIG = random.Random(7).randbytes(5 * MIB)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


@contextlib.asynccontextmanager
async def playing(authority: trustme.CA, play) -> AsyncIterator[tuple[Stream, Recorder]]:
    """A stream to a TLS server that runs `play`; errors of the server are raised."""
    context = server_context(authority)
    async with tls_peer(context, play) as (port, faults), opened(port, client_context(authority)) as pair:
        yield pair
    assert not faults


@pytest.mark.parametrize(
    ("record", "cut", "size"),
    [
        (16384, None, 5 * MIB),
        (16384, 1460, 5 * MIB),
        (1400, 65536, 5 * MIB),
        (1, 700, 20_000),
        (16384, 1, 40_000),
    ],
)
async def test_a_big_mail_arrives_with_any_record_and_segment_size(authority, record, cut, size):
    async def play(peer: Peer) -> None:
        await peer.send(peer.encrypt(BIG[:size], record=record), cut=cut)
        await peer.reader.read(1)

    async with playing(authority, play) as (_, recorder):
        await recorder.until(size)

        assert recorder.data == BIG[:size]


async def test_data_that_the_peer_does_not_read_yet_is_kept_and_sent_in_order(authority):
    go_on = asyncio.Event()
    received = []

    async def play(peer: Peer) -> None:
        await go_on.wait()
        received.append(await peer.read(len(BIG) + 5))
        await peer.send(peer.encrypt(b"thanks"))

    async with playing(authority, play) as (connection, recorder):
        connection.write(BIG)
        connection.write(b"that's")
        await asyncio.sleep(0.05)
        connection.write(b"")
        go_on.set()
        await recorder.until(6)

    assert received == [BIG + b"that's"]
    assert recorder.data == b"thanks"


async def test_both_sides_can_send_at_the_same_time(authority):
    async def play(peer: Peer) -> None:
        await peer.send(peer.encrypt(BIG))
        assert await peer.read(len(BIG)) == BIG
        await peer.send(peer.encrypt(b"."))

    async with playing(authority, play) as (connection, recorder):
        connection.write(BIG)
        await recorder.until(len(BIG) + 1)

        assert recorder.data == BIG + b"."


@pytest.mark.parametrize("reset", [False, True])
async def test_a_peer_that_closes_within_a_record_ends_the_stream(authority, reset):
    async def play(peer: Peer) -> None:
        await peer.send(peer.encrypt(b"whole"))
        await peer.send(peer.encrypt(b"x" * 10_000)[:5000])
        await asyncio.sleep(0.05)
        if reset:
            sock = peer.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.writer.transport.abort()

    async with playing(authority, play) as (connection, recorder):
        why = await recorder.ended()

        assert recorder.data == b"whole"
        assert isinstance(why, ConnectionResetError) if reset else why is None, why
        assert connection.is_closing()


async def test_close_notify_ends_the_stream_after_earlier_data(authority):
    async def play(peer: Peer) -> None:
        await peer.send(peer.encrypt(b"bye") + peer.close_notify())
        await peer.reader.read()

    async with playing(authority, play) as (connection, recorder):
        assert await recorder.ended() is None
        assert recorder.data == b"bye"
        connection.write(b"nobody hears this")
        connection.resume_reading()


async def test_a_record_that_was_tampered_with_ends_the_stream(authority):
    async def play(peer: Peer) -> None:
        ciphertext = bytearray(peer.encrypt(b"100 dollars"))
        ciphertext[-1] ^= 1
        await peer.send(bytes(ciphertext))
        await peer.reader.read(1)

    async with playing(authority, play) as (_, recorder):
        assert isinstance(await recorder.ended(), ssl.SSLError)
        assert recorder.data == b""


async def test_data_received_while_reading_is_paused_arrives_later(authority):
    async def play(peer: Peer) -> None:
        await peer.send(peer.encrypt(b"a"))
        await peer.read(1)
        await peer.send(peer.encrypt(b"b"))
        await peer.reader.read(1)

    async with playing(authority, play) as (connection, recorder):
        await recorder.until(1)
        connection.pause_reading()
        connection.write(b"!")
        await asyncio.sleep(0.05)
        assert recorder.data == b"a"

        connection.resume_reading()
        await recorder.until(2)


async def test_a_protocol_that_aborts_receives_no_more_data(authority):
    async def play(peer: Peer) -> None:
        await peer.send(peer.encrypt(b"x" * 100_000))
        with contextlib.suppress(ConnectionError):  # the client leaves most of it unread
            await peer.reader.read()

    async with playing(authority, play) as (connection, recorder):
        heard = recorder.data_received

        def hear_and_abort(data: memoryview) -> None:
            heard(data)
            connection.abort()

        recorder.data_received = hear_and_abort  # type: ignore[method-assign]
        assert await recorder.ended() is None
        assert len(recorder.data) == 16384


async def test_a_handshake_with_a_peer_that_closes_or_has_no_tls_fails_and_closes(authority):
    for answer, kind in ((b"", ConnectionResetError), (b"* OK this is IMAP in clear\r\n", ssl.SSLError)):

        async def serve(reader, writer, answer=answer):
            await reader.read(10)
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        before = descriptors()
        sock = socket.create_connection(server.sockets[0].getsockname())
        sock.setblocking(False)
        connection = Stream(Recorder(), sock)
        with pytest.raises(kind):
            await connection.secure(client_context(authority), "localhost")
        assert connection.is_closing()
        server.close()
        async with asyncio.timeout(5):
            while not descriptors() <= before:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.2"])
async def test_a_certificate_for_another_host_is_refused(authority, host):
    async def play(peer: Peer) -> None:
        await peer.reader.read()

    async with tls_peer(server_context(authority, host=host), play) as (port, _):
        with pytest.raises(ssl.SSLCertVerificationError):
            async with opened(port, client_context(authority)):
                pass


async def test_a_clear_text_stream_behaves_the_same():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BIG)
        writer.write(await reader.readexactly(len(BIG)))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with opened(server.sockets[0].getsockname()[1]) as (connection, recorder):
        connection.write(BIG)
        assert await recorder.ended() is None
        assert recorder.data == BIG + BIG
    server.close()


def test_each_event_loop_has_a_buffer_of_its_own():
    async def buffer() -> int:
        with contextlib.closing(socket.socket()) as sock:
            return id(Stream(Recorder(), sock)._buffer)

    async def both() -> None:
        mine, found = await buffer(), []
        thread = threading.Thread(target=lambda: found.append(asyncio.run(buffer())))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert await buffer() == mine != found[0]

    asyncio.run(both())
    assert len(stream._buffers) <= 2  # the buffers of closed loops are released


class Busy(Recorder):
    """Each received byte keeps the event loop busy, until `at_ease`."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.at_ease = False

    def data_received(self, data: memoryview) -> None:
        super().data_received(data)
        self.sizes.append(len(data))
        until = time.perf_counter() + (0 if self.at_ease else len(data) * 0.5e-6)
        while time.perf_counter() < until:
            pass


async def test_a_peer_that_keeps_the_event_loop_busy_is_paused_and_loses_no_data():
    """Other tasks run after each record of 8 ms of work, not after all of the data."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        theirs.sendall(BIG[: 6 * MAX_READ_BYTES])
        recorder = Busy()
        made = Stream(recorder, ours)
        made.start()
        for _ in range(5):
            await asyncio.sleep(0)
        at_first = len(recorder.sizes)
        await recorder.until(6 * MAX_READ_BYTES)
        made.abort()

    assert at_first < 5
    assert recorder.sizes[0] == MAX_READ_BYTES
    assert 1024 in recorder.sizes  # smaller and smaller reads hold the loop for less
    assert bytes(recorder.data) == BIG[: 6 * MAX_READ_BYTES]


async def test_the_rest_of_a_partly_read_record_is_read_from_openssl(authority):
    """No selector reports the rest: the peer sends nothing after its only record."""

    async def play(peer: Peer) -> None:
        await peer.send(peer.encrypt(BIG[:MAX_READ_BYTES]))
        await peer.reader.read(1)

    async with playing(authority, play) as (made, _):
        made._read_size = 1024  # as after a flood
        busy = Busy()
        made._protocol = busy
        await busy.until(MAX_READ_BYTES)

    assert busy.sizes[0] == 1024
    assert bytes(busy.data) == BIG[:MAX_READ_BYTES]


async def test_the_rest_of_a_record_is_read_after_a_pause_within_it(authority):
    async def play(peer: Peer) -> None:
        await peer.send(peer.encrypt(BIG[:MAX_READ_BYTES]))
        await peer.reader.read(1)

    class Pausing(Recorder):
        def data_received(self, data: memoryview) -> None:
            super().data_received(data)
            if len(self.data) == len(data):
                made.pause_reading()

    async with playing(authority, play) as (made, _):
        made._read_size = 1024
        made._protocol = recorder = Pausing()
        await recorder.until(1)
        await asyncio.sleep(0)
        assert len(recorder.data) == 1024
        made.resume_reading()
        await recorder.until(MAX_READ_BYTES)

    assert bytes(recorder.data) == BIG[:MAX_READ_BYTES]


async def test_endless_session_tickets_are_charged_to_the_peer(authority):
    """Tickets are no data for the protocol, but take time."""
    context = server_context(authority)
    context.num_tickets = 2000

    async def play(peer: Peer) -> None:
        await peer.reader.read(1)

    async with (
        tls_peer(context, play) as (port, _),
        opened(port, client_context(authority)) as (made, recorder),
    ):
        async with asyncio.timeout(10):
            while not made._paused_until:
                await asyncio.sleep(0.01)

        assert not recorder.data
