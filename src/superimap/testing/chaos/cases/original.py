"""How did the original's stress server misbehave? Its eight kinds, by the weights it had."""

from __future__ import annotations

import random
from typing import NamedTuple

from superimap.testing.chaos.case import ArmedCase, case
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand

NORMAL = 400


class Kind(NamedTuple):
    """One way of answering a command, and how often it is chosen, against the 400 of a normal answer."""

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
    """What each verb did of its own; SEARCH, FETCH, IDLE, DONE and LOGOUT are as usual."""
    match command.name:
        case "LOGIN":
            return command.tag + b" NO Invalid credentials\r\n"
        case "LIST":
            lines = session.usual(command).splitlines(keepends=True)
            return b"".join(line for line in lines if b"INBOX" not in line)
        case "EXAMINE" | "STATUS":
            return _with_uidvalidity(session.usual(command), chance)
    return None


def _with_uidvalidity(answer: bytes, chance: random.Random) -> bytes:
    head, mark, rest = answer.partition(b"UIDVALIDITY ")
    digits = len(rest) - len(rest.lstrip(b"0123456789"))
    return head + mark + b"%d" % chance.randrange(1, 2**31) + rest[digits:] if mark else answer


_ANSWERS = {  # what the original called NO said BAD, too
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
            arm.rate = kind.weight / (NORMAL + sum(each.weight for each in KINDS))

        async def hook(session: FakeSession, command: ClientCommand) -> bytes | None:
            fires = arm.fires(session, f"{kind.name}: {command.name}")
            return _answer(arm, kind.name, session, command) if fires else None

        arm.always("*", hook)
        arm.greeting(lambda session: _greeting(kind.name, session))

    arm_kind.__doc__ = f"{doc} {kind.weight} of 409 commands and greetings, if no rate is given."
    case(f"seed {kind.name}")(arm_kind)


for _kind, _doc in zip(
    KINDS,
    (
        "What each verb did: no greeting, a refused login, a LIST without INBOX, another UIDVALIDITY.",
        "BAD, which the original called NO.",
        "BAD.",
        "A tagged line that is no answer.",
        "An untagged line that is no answer, and none after it.",
        "BYE, and the socket stays open.",
        "The connection ends without a word.",
    ),
    strict=True,
):
    _register(_kind, _doc)


@case("seed-uidvalidity")
def new_uidvalidity_on_every_connection(arm: ArmedCase) -> None:
    """Each connection sees a UIDVALIDITY of its own, as in the original."""

    async def examine(session: FakeSession, command: ClientCommand) -> bytes:
        return _with_uidvalidity(session.usual(command), arm.chance(session))

    arm.on("EXAMINE,STATUS", examine)
