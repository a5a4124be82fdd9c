"""Cases of a broken protocol: bytes that arrive late, never end, or are no valid response."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from superimap.testing.chaos.case import ArmedCase, case
from superimap.testing.imap.login import capabilities, greet
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand

_LITERAL = re.compile(rb"\{(\d+)\}\r\n")
CHUNK_BYTES = 1 << 16


def _reads_a_body(command: ClientCommand) -> bool:
    asked = repr(command.arguments[1:])
    return "BODY" in asked and "HEADER.FIELDS" not in asked


def _spoiling(arm: ArmedCase, spoil: Callable[[FakeSession, ClientCommand], bytes]) -> None:
    """Answer a FETCH of a body with the bytes that `spoil` returns."""

    async def fetch(session: FakeSession, command: ClientCommand) -> bytes | None:
        if _reads_a_body(command) and arm.strikes(session, "UID FETCH"):
            return spoil(session, command)
        return None

    arm.always("UID FETCH", fetch)


@case("C04 reset in fetch")
def reset_in_fetch(arm: ArmedCase) -> None:
    """The connection is reset after half of a message."""

    def spoil(session: FakeSession, command: ClientCommand) -> bytes:
        answer = session.usual_answer(command)
        session.send(answer[: len(answer) // 2])
        session.reset()
        return b""

    _spoiling(arm, spoil)


@case("C22 no greeting")
def no_greeting(arm: ArmedCase) -> None:
    """Connections are accepted, and no greeting is sent."""
    arm.greeting(lambda _session: None)


@case("C22 slow greeting")
def slow_greeting(arm: ArmedCase) -> None:
    """The greeting arrives one byte every `seconds` (2)."""
    seconds = float(arm.option("seconds", 2.0))

    async def drip(session: FakeSession) -> None:
        for byte in greet(session):
            session.send(bytes([byte]))
            await asyncio.sleep(seconds)

    arm.greeting(drip)


@case("C23 greeting bye")
def greeting_bye(arm: ArmedCase) -> None:
    """The server greets with BYE `text` (Server shutting down) and closes."""
    text = str(arm.option("text", "Server shutting down"))
    arm.greeting(lambda _session: f"* BYE {text}\r\n".encode())


@case("C24 greeting preauth")
def greeting_preauth(arm: ArmedCase) -> None:
    """The server greets with PREAUTH: every connection is logged in to the first account."""
    arm.greeting(lambda _session: b"* PREAUTH welcome back\r\n")


@case("C25 starttls stripped")
def starttls_stripped(arm: ArmedCase) -> None:
    """STARTTLS is neither offered nor accepted, as with a man in the middle."""

    def words(session: FakeSession) -> bytes:
        return b" ".join(word for word in capabilities(session).split() if word != b"STARTTLS")

    async def offer(session: FakeSession, command: ClientCommand) -> bytes:
        return b"* CAPABILITY %s\r\n%s OK done\r\n" % (words(session), command.tag)

    async def refuse(_session: FakeSession, command: ClientCommand) -> bytes:
        return command.tag + b" BAD Unknown command\r\n"

    arm.greeting(lambda session: b"* OK [CAPABILITY %s] ready\r\n" % words(session))
    arm.on("CAPABILITY", offer)
    arm.on("STARTTLS", refuse)


@case("C25 starttls injected")
def starttls_injected(arm: ArmedCase) -> None:
    """Clear-text responses follow the OK to STARTTLS; they must not survive into TLS."""

    async def inject(session: FakeSession, command: ClientCommand) -> bytes:
        context = session.server.starttls
        if context is None or session.tls:
            return command.tag + b" BAD STARTTLS is not available\r\n"
        session.send(command.tag + b" OK go\r\n* PREAUTH welcome\r\n* CAPABILITY IMAP4rev1 EVIL\r\n")
        await session.upgrade(context)
        return b""

    arm.on("STARTTLS", inject)


@case("C26 four gigabyte literal")
def four_gigabyte_literal(arm: ArmedCase) -> None:
    """A message is announced as 4 GiB."""
    _spoiling(arm, lambda _session, _command: b"* 1 FETCH (UID 1 BODY[] {4294967296}\r\n")


@case("C26 nested literals")
def nested_literals(arm: ArmedCase) -> None:
    """Literals are nested in lists, and in a literal that looks like a response."""

    def nest(_session: FakeSession, command: ClientCommand) -> bytes:
        inner = b"* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n"
        deep = b"(" * 200 + b"{%d}\r\n%s" % (len(inner), inner) + b")" * 200
        return b"* 1 FETCH (UID 1 X %s)\r\n%s OK done\r\n" % (deep, command.tag)

    _spoiling(arm, nest)


@case("C26 impossible numbers")
def impossible_numbers(arm: ArmedCase) -> None:
    """Negative, zero and far too large numbers arrive together with correct answers."""
    huge = b"9" * 40
    noise = (
        b"* -1 EXISTS\r\n* %b EXISTS\r\n* %b EXPUNGE\r\n* OK [UIDNEXT -5] x\r\n* OK [UIDVALIDITY 0] x\r\n"
        b"* SEARCH -3 0 %b\r\n* 1 FETCH (UID %b FLAGS ())\r\n"
    ) % (huge, huge, huge, huge)

    async def noisy(session: FakeSession, command: ClientCommand) -> bytes:
        return noise + session.usual_answer(command)

    arm.on("UID SEARCH,UID FETCH,EXAMINE", noisy)


async def _flood(session: FakeSession, pieces: int, piece: bytes) -> bytes:
    for _ in range(pieces):
        if session.transport.is_closing():
            break
        session.send(piece)
        await session.drain()
    return b""


@case("C27 endless line")
def endless_line(arm: ArmedCase) -> None:
    """The answer is one line of `megabytes` (64) that never ends."""
    count = int(arm.option("megabytes", 64)) * (1 << 20) // CHUNK_BYTES

    async def flood(session: FakeSession, _command: ClientCommand) -> bytes:
        session.send(b"* OK ")
        return await _flood(session, count, b"A" * CHUNK_BYTES)

    arm.on("UID SEARCH", flood)


@case("C28 flood of untagged lines")
def flood_of_untagged_lines(arm: ArmedCase) -> None:
    """Before the answer `lines` (300000) unsolicited responses arrive."""
    lines = int(arm.option("lines", 300_000))

    async def flood(session: FakeSession, command: ClientCommand) -> bytes:
        await _flood(session, lines // 1000, b"* 1 FETCH (FLAGS (\\Seen))\r\n" * 1000)
        return session.usual_answer(command)

    arm.on("UID SEARCH", flood)


@case("C29 dripped fetch")
def dripped_fetch(arm: ArmedCase) -> None:
    """A message arrives one byte every `seconds` (10)."""
    seconds = float(arm.option("seconds", 10.0))

    async def drip(session: FakeSession, command: ClientCommand) -> bytes | None:
        if not (_reads_a_body(command) and arm.strikes(session, "UID FETCH")):
            return None
        for byte in session.usual_answer(command):
            session.send(bytes([byte]))
            await asyncio.sleep(seconds)
        return b""

    arm.always("UID FETCH", drip)


@case("C31 literal shorter than announced")
def literal_shorter_than_announced(arm: ArmedCase) -> None:
    """A message has `missing` (10) bytes fewer than its literal announces."""
    missing = int(arm.option("missing", 10))

    def shorten(session: FakeSession, command: ClientCommand) -> bytes:
        return _LITERAL.sub(
            lambda match: b"{%d}\r\n" % (int(match[1]) + missing), session.usual_answer(command), count=1
        )

    _spoiling(arm, shorten)


@case("C32 wrong tag")
def wrong_tag(arm: ArmedCase) -> None:
    """The answer ends with a tag other than that of the command."""

    async def answer(session: FakeSession, command: ClientCommand) -> bytes:
        return session.usual_answer(command).replace(command.tag + b" OK", b"WRONG9 OK")

    arm.on("UID SEARCH,UID FETCH", answer)


@case("C32 second tagged ok")
def second_tagged_ok(arm: ArmedCase) -> None:
    """The tagged OK is sent twice."""

    async def answer(session: FakeSession, command: ClientCommand) -> bytes:
        usual = session.usual_answer(command)
        return usual + usual[usual.rfind(command.tag) :]

    arm.on("UID SEARCH,UID FETCH", answer)
