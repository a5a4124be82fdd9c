"""Reported behaviour around UIDs, UIDVALIDITY, UIDNEXT and SEARCH."""

from __future__ import annotations

import re

from superimap.testing import ImapServer
from superimap.testing.imap.hooks import answering, ending, hanging, only
from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand
from tests.support.dialogues.dialogue import Dialogue, all_of, mail, on, rewriting

_NO_VALIDITY = rewriting(rb"\* OK \[UIDVALIDITY[^\r]*\r\n", b"")
_SEARCH = "UID SEARCH"
_NO_UIDNEXT = rewriting(rb"\* OK \[UIDNEXT[^\r]*\r\n", b"")


async def _refuse_in_empty_mailbox(session: FakeSession, command: ClientCommand) -> bytes | None:
    is_empty = not session.account.inbox.messages  # type: ignore[union-attr]
    return command.tag + b" NO no such message\r\n" if is_empty else None


def _each_alone(match: re.Match[bytes]) -> bytes:
    return b"".join(b"* SEARCH %s\r\n" % uid for uid in match[1].split()) or b"* SEARCH\r\n"


def _naming(few: slice) -> Hook:
    """Name no more than `few` of the UIDs that a search finds."""

    def cut(match: re.Match[bytes]) -> bytes:
        return b" ".join([b"* SEARCH", *match[1].split()[few]]) + b"\r\n"

    return rewriting(rb"\* SEARCH ([^\r]*)\r\n", cut)


def _burst(imap: ImapServer) -> None:
    """Five mails arrive between the first session and the second."""

    async def hang_up(session: FakeSession, _command: ClientCommand) -> bytes:
        for number in range(5):
            imap.deliver("joe", mail(f"burst {number}", body=f"{number}\r\n"))
        session.close()
        return b""

    imap.on("IDLE", only(hang_up, times=1))


async def _extended(session: FakeSession, command: ClientCommand) -> bytes:
    def line(match: re.Match[bytes]) -> bytes:
        uids = b",".join(match[1].split())
        return b'* ESEARCH (TAG "%s") UID%s\r\n' % (command.tag, b" ALL " + uids if uids else b"")

    return re.sub(rb"\* SEARCH([^\r]*)\r\n", line, session.usual_answer(command))


async def _without_uid(session: FakeSession, command: ClientCommand) -> bytes:
    return (await _extended(session, command)).replace(b") UID ALL", b") ALL")


async def _refuse_uid_key(_session: FakeSession, command: ClientCommand) -> bytes | None:
    words = [word.upper() for word in command.arguments if isinstance(word, bytes)]
    return command.tag + b" NO The criteria 'UID' is not supported\r\n" if b"UID" in words else None


DIALOGUES = [
    Dialogue("S005", on("EXAMINE", rewriting(rb"UIDVALIDITY \d+", b"UIDVALIDITY 1713632002544"))),
    Dialogue("S013", on("UID SEARCH", _refuse_uid_key)),
    Dialogue("S048", all_of(on("EXAMINE", _NO_VALIDITY), on("SELECT", _NO_VALIDITY), on("STATUS", answering(
        b'* STATUS "INBOX" (MESSAGES 1)', b"%(tag)s OK done")))),
    Dialogue("S049", all_of(
        on("EXAMINE", rewriting(rb"UIDVALIDITY \d+", b"UIDVALIDITY 0")),
        on("STATUS", rewriting(rb"UIDVALIDITY \d+", b"UIDVALIDITY 0")))),
    Dialogue("S050", all_of(on("EXAMINE", _NO_UIDNEXT), on("STATUS", rewriting(rb" ?UIDNEXT \d+", b"")))),
    Dialogue(
        "S053", on("EXAMINE", only(answering(
            b"%(tag)s NO NO Error : Argument 'uid' value must be >= 1."), times=3))
    ),
    Dialogue("S054", on("UID SEARCH", _refuse_in_empty_mailbox), early=None, delivered=frozenset({1})),
    Dialogue("S055", on("UID SEARCH", rewriting(rb"\* SEARCH([^\r]*)\r\n", _each_alone))),
    Dialogue("S056", on("UID SEARCH", _extended)),
    Dialogue("S057", on("UID SEARCH", _extended), early=None, delivered=frozenset({1})),
    Dialogue(
        "S058", on("UID SEARCH", rewriting(rb"\* SEARCH\r\n", b"")), early=None, delivered=frozenset({1})
    ),
    Dialogue("S121", on(_SEARCH, ending()), reason="UID SEARCH", logins=4),
    Dialogue("S122", on(_SEARCH, hanging()), reason="UID SEARCH", logins=4),
    Dialogue("S123", on(_SEARCH, answering(
        b"%(tag)s NO [LIMIT] Search rate limit exceeded")), reason="UID SEARCH", logins=4),
    Dialogue("S124", all_of(
        on(_SEARCH, answering(b"%(tag)s BAD no")), on("FETCH", answering(b"%(tag)s BAD no"))), logins=1),
    Dialogue("S125", all_of(on(_SEARCH, ending()), on("FETCH", ending())), reason="FETCH", logins=6),
    Dialogue("S126", on(_SEARCH, answering(b"%(tag)s OK SEARCH completed")), logins=1),
    Dialogue("S127", on(_SEARCH, rewriting(rb"\* SEARCH([^\r]*)", rb"* SEARCH\1 x")), logins=1),
    Dialogue("S128", on(_SEARCH, _without_uid), logins=1),
    Dialogue("S129", on("EXAMINE", answering(b"%(tag)s BAD unrecognised command")), logins=1),
    Dialogue("S136", on("EXAMINE", ending()), reason="EXAMINE", logins=4),
    Dialogue("S176", all_of(_burst, on(_SEARCH, _naming(slice(-2, None)))), late=None,
             delivered=frozenset(range(1, 7))),
    Dialogue("S177", all_of(_burst, on(_SEARCH, _naming(slice(2)))), late=None, delivered=frozenset(range(1, 7))),
    Dialogue("S059", on("*", rewriting(
        rb"\A(?=\* (?:SEARCH|\d+ FETCH))", b"* OK Searched 91% of the mailbox, ETA 0:01\r\n"))),
]  # fmt: skip
