"""Mutations of a recorded dialogue: lines lost, repeated, moved and cut, other numbers, and junk."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from trials.fuzz.recorded import Exchange

PAUSE, CUT, SILENCE = b"\0pause\0", b"\0cut\0", b"\0silence\0"
"""Places in an answer where the server stops for a moment, closes the connection, or says nothing more."""
SILENT_SHARE = 0.03
"""The share of dialogues in which the server falls silent; each takes the client until a deadline."""

_NUMBERS = (b"0", b"1", b"-1", b"", b"007", b"2147483648", b"4294967295", b"4294967296", b"9" * 20, b"1:*")
_JUNK = (
    b"* 1 EXISTS\r\n", b"* 0 EXISTS\r\n", b"* 5000000 EXISTS\r\n", b"* 1 EXPUNGE\r\n", b"* 2 FETCH (FLAGS ())\r\n",
    b"* OK [ALERT] hello\r\n", b"* NO try again later\r\n", b"* BAD what\r\n", b"* BYE see you\r\n",
    b"* SEARCH\r\n", b"* SEARCH 1 2 3 99999\r\n", b'* ESEARCH (TAG "x") UID ALL 1:1000000\r\n', b"*\r\n", b"\r\n",
    b"+ \r\n", b"{tag} OK done\r\n", b"{tag} NO [SERVERBUG] no\r\n", b"{tag} BAD no\r\n", b"X99 OK other\r\n",
    b"* 1 FETCH (UID 1 BODY[] {5}\r\nhello)\r\n", b"* 1 FETCH (UID 9 BODY[] {99999999}\r\n",
    b'* LIST () "/" "\r\n',
    b"* CAPABILITY IMAP4rev1 IDLE LOGINDISABLED\r\n", b"* OK [UIDVALIDITY 7]\r\n",
    b"\0", b"(((((((((", b'"', b"{3+}\r\n",
)  # fmt: skip

_LINE, _NUMBER, _LITERAL = re.compile(rb"[^\n]*\n"), re.compile(rb"\d+"), re.compile(rb"\{(\d+)\}")


def mutant(
    dialogues: Sequence[list[Exchange]], chance: random.Random, *, most: int = 4
) -> tuple[list[Exchange], list[str]]:
    """One of the dialogues with up to `most` mutations, and their names."""
    exchanges = list(chance.choice(dialogues))
    names = []
    for _ in range(chance.randint(0, most)):
        at = chance.randrange(len(exchanges))
        mutate = chance.choice(_MUTATIONS)
        other = chance.choice(chance.choice(dialogues)).answer
        old = exchanges[at]
        exchanges[at] = Exchange(old.command, mutate(old.answer, other, chance))
        names.append(f"{mutate.__name__.strip('_')} in {old.kind or 'greeting'}")
    if chance.random() < SILENT_SHARE:
        at = chance.randrange(len(exchanges))
        old = exchanges[at]
        exchanges[at] = Exchange(old.command, _truncate(old.answer, b"", chance) + SILENCE)
        names.append(f"silence in {old.kind or 'greeting'}")
    return exchanges, names


def _drop_line(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    lines = _lines(answer)
    del lines[chance.randrange(len(lines)) : chance.randint(0, len(lines))]
    return b"".join(lines)


def _repeat_line(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    lines = _lines(answer)
    at = chance.randrange(len(lines))
    lines[at] *= chance.choice((2, 2, 3, 500))
    return b"".join(lines)


def _move_lines(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    lines = _lines(answer)
    lines.insert(chance.randint(0, len(lines)), lines.pop(chance.randrange(len(lines))))
    return b"".join(lines)


def _cut(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    return answer[: chance.randint(0, len(answer))] + CUT


def _truncate(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    return answer[: chance.randint(0, len(answer))]


def _splice(answer: bytes, other: bytes, chance: random.Random) -> bytes:
    return answer[: chance.randint(0, len(answer))] + other[chance.randint(0, len(other)) :]


def _flip_bits(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    flipped = bytearray(answer)
    for _number in range(min(len(flipped), chance.choice((1, 1, 3, 30)))):
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def _change_number(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    return _replace(answer, _NUMBER, lambda found: _near(found[0], chance), chance)


def _change_literal(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    return _replace(answer, _LITERAL, lambda found: b"{%b}" % _near(found[1], chance), chance)


def _swap_case(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(answer))
    end = at + chance.choice((1, 10, 100))
    return answer[:at] + answer[at:end].swapcase() + answer[end:]


def _insert_junk(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    lines = _lines(answer)
    lines.insert(chance.randint(0, len(lines)), chance.choice(_JUNK) * chance.choice((1, 1, 1, 300)))
    return b"".join(lines)


def _insert_bytes(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(answer))
    return answer[:at] + chance.choice((chance.choice(_JUNK), chance.randbytes(8))) + answer[at:]


def _delay(answer: bytes, _: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(answer))
    return answer[:at] + PAUSE + answer[at:]


_MUTATIONS: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    _drop_line, _repeat_line, _move_lines, _cut, _truncate, _splice, _flip_bits, _change_number, _change_literal,
    _swap_case, _insert_junk, _insert_bytes, _delay,
)  # fmt: skip


def _lines(answer: bytes) -> list[bytes]:
    return _LINE.findall(answer) or [answer]


def _near(number: bytes, chance: random.Random) -> bytes:
    step = b"%d" % max(0, int(number) + chance.choice((-100, -1, 1, 1, 100)))
    return chance.choice((step, step, chance.choice(_NUMBERS)))


def _replace(
    answer: bytes,
    pattern: re.Pattern[bytes],
    by: Callable[[re.Match[bytes]], bytes],
    chance: random.Random,
) -> bytes:
    found = list(pattern.finditer(answer))
    if not found:
        return answer
    one = chance.choice(found)
    return answer[: one.start()] + by(one) + answer[one.end() :]
