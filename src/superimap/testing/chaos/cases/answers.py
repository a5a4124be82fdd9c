"""Cases of wrong but well-formed answers: counts, UIDs, dates, codes."""

from __future__ import annotations

import re
from collections.abc import Callable

from superimap.testing.chaos.case import ArmedCase, case
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand

_UIDNEXT = re.compile(rb"\* OK \[UIDNEXT \d+\][^\r]*\r\n")
_INTERNALDATE = re.compile(rb'INTERNALDATE "[^"]*"')
FUTURE = b'INTERNALDATE "19-Jan-2038 03:14:07 +0000"'


def _changing(arm: ArmedCase, names: str, change: Callable[[bytes], bytes]) -> None:
    async def changed(session: FakeSession, command: ClientCommand) -> bytes:
        return change(session.usual_answer(command))

    arm.on(names, changed)


@case("C03 never pushes")
def never_pushes(arm: ArmedCase) -> None:
    """IDLE is accepted, and nothing is ever pushed in it."""
    arm.pushing(lambda session, data: None if arm.strikes(session, "push") else data)


@case("C09 uidnext missing")
def uidnext_missing(arm: ArmedCase) -> None:
    """EXAMINE does not report UIDNEXT."""
    _changing(arm, "EXAMINE", lambda answer: _UIDNEXT.sub(b"", answer))


@case("C09 uidnext too high")
def uidnext_too_high(arm: ArmedCase) -> None:
    """EXAMINE reports a UIDNEXT far above all UIDs to come."""
    _changing(arm, "EXAMINE", lambda answer: _UIDNEXT.sub(b"* OK [UIDNEXT 4000000000] high\r\n", answer))


@case("C09 uidnext too low")
def uidnext_too_low(arm: ArmedCase) -> None:
    """EXAMINE reports UIDNEXT 1, whatever the mailbox contains."""
    _changing(arm, "EXAMINE", lambda answer: _UIDNEXT.sub(b"* OK [UIDNEXT 1] low\r\n", answer))


@case("C11 search brings old uids")
def search_brings_old_uids(arm: ArmedCase) -> None:
    """A search by UID also returns the last messages, although they are below the requested range."""

    async def search(session: FakeSession, command: ClientCommand) -> bytes:
        answer = session.usual_answer(command)
        old = b"".join(b" %d" % message.uid for message in session.messages[-3:])
        return answer.replace(b"* SEARCH", b"* SEARCH" + old, 1)

    arm.on("UID SEARCH", search)


@case("C12 unsolicited responses")
def unsolicited_responses(arm: ArmedCase) -> None:
    """Unsolicited flags, shrinking and growing counts, and codes arrive in any order with any answer."""

    def noise(session: FakeSession) -> bytes:
        count = len(session.messages)
        return (
            b"* 1 FETCH (FLAGS (\\Seen $Junk))\r\n* OK [HIGHESTMODSEQ 99] x\r\n* %d EXISTS\r\n* 0 RECENT\r\n"
            b"* FLAGS (\\Deleted)\r\n* %d EXISTS\r\n* 77 FETCH (UID 99999 FLAGS ())\r\n"
            % (max(0, count - 1), count)
        )

    async def noisy(session: FakeSession, command: ClientCommand) -> bytes:
        return noise(session) + session.usual_answer(command)

    arm.on("UID SEARCH,UID FETCH,NOOP,DONE", noisy)
    arm.in_idle(lambda session: session.send(noise(session)))


@case("C18 overquota")
def overquota(arm: ArmedCase) -> None:
    """Each answer has [OVERQUOTA], untagged and in its OK: the mailbox is full, but readable."""

    async def full(session: FakeSession, command: ClientCommand) -> bytes:
        answer = session.usual_answer(command).replace(
            command.tag + b" OK ", command.tag + b" OK [OVERQUOTA] ", 1
        )
        return b"* NO [OVERQUOTA] Mailbox is full\r\n" + answer

    arm.on("EXAMINE,UID SEARCH,UID FETCH,NOOP", full)


@case("C33 compress offered")
def compress_offered(arm: ArmedCase) -> None:
    """COMPRESS=DEFLATE is offered; a client that uses it receives BAD, and is recorded."""
    offered = "COMPRESS=DEFLATE"
    arm.server.capabilities.append(offered)
    arm.undo(lambda: arm.server.capabilities.remove(offered))

    async def refuse(_session: FakeSession, command: ClientCommand) -> bytes:
        return command.tag + b" BAD not here\r\n"

    arm.on("COMPRESS", refuse)


@case("C39 internaldate in the future")
def internaldate_in_the_future(arm: ArmedCase) -> None:
    """Messages are dated 2038."""
    _changing(arm, "UID FETCH", lambda answer: _INTERNALDATE.sub(FUTURE, answer))
