"""A server that plays a mutated dialogue on each connection, by the kind of the command that it gets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from trials.fuzz.mutations import CUT, PAUSE, SILENCE, mutant
from trials.fuzz.recorded import GREETING, TAG, Exchange, command_kind

QUIET_SECONDS = 0.15
"""Seconds without a command after which the server closes the connection."""
PAUSE_SECONDS = 0.05
CLOSE_SECONDS = 12.0
"""Seconds in which the client must close a connection that the server has closed, or in which nothing comes.

The longest legitimate wait: a round of IDLE of 5 s, and the deadline for the answer to DONE.
"""
_MAX_COMMANDS = 300
_LOGIN = re.compile(rb'LOGIN "?(\w+)"?', re.IGNORECASE)
_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n")
_PLACES = re.compile(b"(" + b"|".join(map(re.escape, (PAUSE, CUT, SILENCE))) + b")")


@dataclass
class Play:
    """One connection: the mutations of its dialogue, who logged in, what was sent, and how it ended."""

    number: int
    mutations: list[str]
    answers: dict[str, list[bytes]]
    user: str = ""
    sent: bytearray = field(default_factory=bytearray)
    commands: int = 0
    is_silent: bool = False
    has_ended: bool = False

    def digests(self) -> set[bytes]:
        """SHA-1 of each literal that was sent, and of each quoted string."""
        sent = bytes(self.sent)
        literals = (sent[each.end() : each.end() + int(each[1])] for each in _LITERAL.finditer(sent))
        strings = re.findall(rb'"((?:[^"\\]|\\.)*)"', sent)
        return {hashlib.sha1(each).digest() for each in (*literals, *strings, b"")}

    def answer_to(self, kind: str, line: bytes) -> bytes:
        """The recorded answer to a command: the one of the UID that it names, else the next of its kind."""
        answers = self.answers.get(kind, [])
        if not answers:
            return b"{tag} BAD unknown command\r\n"
        uid = re.search(rb"FETCH (\d+)", line)
        chosen = next((one for one in answers if uid and b"UID %b " % uid[1] in one), answers[0])
        if len(answers) > 1:
            answers.remove(chosen)
        return chosen


class DialoguePlayer:
    """Listens on the loopback, and plays another mutant on each connection; the same ones for the same seed."""

    def __init__(self, dialogues: Sequence[list[Exchange]], *, seed: int) -> None:
        self._dialogues = dialogues
        self._seed = seed
        self.port = 0
        self.plays: list[Play] = []
        self.hung: list[Play] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[DialoguePlayer]:
        """Listen for the length of the block."""
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()

    def _next_play(self) -> tuple[Play, random.Random]:
        number = len(self.plays)
        chance = random.Random(f"{self._seed} {number}")
        exchanges, names = mutant(self._dialogues, chance)
        answers: dict[str, list[bytes]] = defaultdict(list)
        for each in exchanges:
            answers[each.kind].append(each.answer)
        if chance.random() < 0.7:  # as a numbering of its own, so that all mails are read
            fresh = b"UIDVALIDITY %d" % (1_000_000 + number)
            answers["EXAMINE"] = [re.sub(rb"UIDVALIDITY \d+", fresh, each) for each in answers["EXAMINE"]]
        play = Play(number, names, answers)
        self.plays.append(play)
        return play, chance

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        play, chance = self._next_play()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await self._play(play, reader, writer)
        with contextlib.suppress(OSError):
            if play.is_silent:
                pass
            elif chance.random() < 0.5 and not writer.is_closing():
                writer.write_eof()
            else:
                writer.close()
        await self._await_end(play, reader)
        writer.close()
        play.has_ended = True

    async def _await_end(self, play: Play, reader: asyncio.StreamReader) -> None:
        """Wait until the client has closed the connection, too."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                with contextlib.suppress(OSError):
                    while await reader.read(65536):
                        pass
        except TimeoutError:
            self.hung.append(play)

    async def _play(self, play: Play, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer commands until the client ends, nothing comes for a while, or the dialogue is cut."""
        last_tag = b""
        is_open = await self._send(play, writer, play.answer_to(GREETING, b""), last_tag)
        while is_open and play.commands < _MAX_COMMANDS:
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    line = await reader.readuntil(b"\r\n")
            except TimeoutError:
                return
            play.commands += 1
            tag, _, command = line.strip().partition(b" ")
            if tag.upper() == b"DONE":
                tag, command = b"", tag
            if found := _LOGIN.match(command):
                play.user = found[1].decode()
            answer = play.answer_to(command_kind(command.decode("latin-1")), command)
            last_tag = tag or last_tag  # DONE has none
            is_open = await self._send(play, writer, answer, last_tag)

    async def _send(self, play: Play, writer: asyncio.StreamWriter, answer: bytes, tag: bytes) -> bool:
        """Send an answer with its pauses; False if the dialogue is cut there."""
        for piece in _PLACES.split(answer.replace(TAG, tag)):
            if piece in (CUT, SILENCE):
                play.is_silent = piece == SILENCE
                return False
            if piece == PAUSE:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            play.sent += piece
            writer.write(piece)
            await writer.drain()
        return True
