"""Cases of the stress server of the original super-imap, with its weights."""

from __future__ import annotations

import random
from typing import NamedTuple

from superimap.testing.chaos.case import ArmedCase, case
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand

NORMAL_WEIGHT = 400


class Kind(NamedTuple):
    """A way to answer a command, and its weight; a normal answer has NORMAL_WEIGHT."""

    name: str
    weight: int


KINDS = (
    Kind("verb", 3),
    Kind("no", 1),
    Kind("bad", 1),
    Kind("gibberish tagged", 1),
    Kind("gibberish untagged", 1),
    Kind("soft disconnect", 1),
    Kind("hard disconnect", 1),
)


def _of_the_verb(chance: random.Random, session: FakeSession, command: ClientCommand) -> bytes | None:
    """Return the answer specific to each command; SEARCH, FETCH, IDLE, DONE and LOGOUT answer as usual."""
    match command.name:
        case "LOGIN":
            return command.tag + b" NO Invalid credentials\r\n"
        case "LIST":
            lines = session.usual_answer(command).splitlines(keepends=True)
            return b"".join(line for line in lines if b"INBOX" not in line)
        case "EXAMINE" | "STATUS":
            return _with_uidvalidity(session.usual_answer(command), chance)
    return None


def _with_uidvalidity(answer: bytes, chance: random.Random) -> bytes:
    head, mark, rest = answer.partition(b"UIDVALIDITY ")
    digits = len(rest) - len(rest.lstrip(b"0123456789"))
    return head + mark + b"%d" % chance.randrange(1, 2**31) + rest[digits:] if mark else answer


_ANSWERS = {  # the original's NO sent BAD as well
    "no": b"%(tag)s BAD\r\n",
    "bad": b"%(tag)s BAD\r\n",
    "gibberish tagged": b"%(tag)s ZZZ\r\n",
    "gibberish untagged": b"* ZZZ\r\n",
    "soft disconnect": b"* BYE\r\n",
}


def _answer(arm: ArmedCase, kind: str, session: FakeSession, command: ClientCommand) -> bytes | None:
    if kind == "verb":
        return _of_the_verb(arm.chance(session), session, command)
    if kind == "hard disconnect":
        session.transport.abort()
        return b""
    return _ANSWERS[kind].replace(b"%(tag)s", command.tag)


def _greeting(kind: str, session: FakeSession) -> bytes | None:
    if kind == "verb":
        return b"* ERROR Not ready.\r\n"
    if kind == "hard disconnect":
        session.transport.abort()
        return None
    return _ANSWERS[kind].replace(b"%(tag)s", b"*")


def _register(kind: Kind, doc: str) -> None:
    def arm_kind(arm: ArmedCase) -> None:
        if not arm.rate_given:
            arm.rate = kind.weight / (NORMAL_WEIGHT + sum(each.weight for each in KINDS))

        async def hook(session: FakeSession, command: ClientCommand) -> bytes | None:
            fires = arm.strikes(session, f"{kind.name}: {command.name}")
            return _answer(arm, kind.name, session, command) if fires else None

        arm.always("*", hook)
        arm.greeting(lambda session: _greeting(kind.name, session))

    arm_kind.__doc__ = f"{doc} {kind.weight} of 409 commands and greetings, if no rate is given."
    case(f"seed {kind.name}")(arm_kind)


for _kind, _doc in zip(
    KINDS,
    (
        "Specific to each command: no greeting, a refused login, a LIST without INBOX, another UIDVALIDITY.",
        "BAD, which the original called NO.",
        "BAD.",
        "A tagged line that is no valid response.",
        "An untagged line that is no valid response, and no tagged response after it.",
        "BYE, and the socket stays open.",
        "The connection ends without a BYE.",
    ),
    strict=True,
):
    _register(_kind, _doc)


@case("seed-uidvalidity")
def new_uidvalidity_on_every_connection(arm: ArmedCase) -> None:
    """Each connection sees a different UIDVALIDITY, as in the original."""

    async def examine(session: FakeSession, command: ClientCommand) -> bytes:
        return _with_uidvalidity(session.usual_answer(command), arm.chance(session))

    arm.on("EXAMINE,STATUS", examine)
