"""Reported line ends, lines that are no responses, and FETCH answers that do not parse."""

from __future__ import annotations

import re
from collections.abc import Callable

from superimap.testing import ImapServer
from superimap.testing.imap.hooks import answering
from superimap.testing.imap.server import greet
from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand
from tests.support.dialogues.dialogue import Dialogue, all_of, announced, greeted, on, refused, rewriting

_TAGGED = rb"(\S+ (?:OK|NO|BAD)[^\r]*)\r\n\Z"
_END = rb"\)\r\n(?=\* |\S+ OK)"


def _by_lf(data: bytes) -> bytes:
    """End the lines with LF alone; literals stay as they are."""
    sent, rest = b"", data
    while rest:
        line, end, rest = rest.partition(b"\r\n")
        sent += line + (b"\n" if end else b"")
        if literal := re.search(rb"\{(\d+)\}\Z", line):
            size = int(literal[1])
            sent, rest = sent + rest[:size], rest[size:]
    return sent


def _all_by_lf(imap: ImapServer) -> None:
    async def answer(session: FakeSession, command: ClientCommand) -> bytes:
        return _by_lf(session.usual_answer(command))

    imap.greeting = lambda session: _by_lf(greet(session))
    imap.on("*", answer)
    imap.on_push = lambda _session, data: _by_lf(data)


def _after_banner(imap: ImapServer) -> None:
    imap.greeting = lambda session: b"220 Welcome\r\n" + greet(session)


def _then_closing(line: bytes) -> Hook:
    """Answer a login by a line without its end, and close the connection."""

    async def hook(session: FakeSession, command: ClientCommand) -> bytes:
        session.send(line.replace(b"%t", command.tag))
        session.close()
        return b""

    return hook


def _at_login(hook: Hook) -> Callable[[ImapServer], None]:
    return all_of(on("LOGIN", hook), on("AUTHENTICATE", hook))


def _alert(command: str) -> Callable[[ImapServer], None]:
    return on(command, announced(b"* NO [ALERT] Your mailbox is nearly full.\r\nPlease delete something."))


_NAMES = answering(b'* LIST () "/" "foo\r\nbar"', b'* LIST () "/" Wanted', b"%(tag)s OK done")

DIALOGUES = [
    Dialogue("S178", _all_by_lf),
    Dialogue("S179", on("*", rewriting(_TAGGED, rb"\1\n"))),
    Dialogue("S180", on("*", rewriting(_TAGGED, rb"\1\r\r\n"))),
    Dialogue("S181", on("*", rewriting(_TAGGED, rb"\1\r\n\1\r\n"))),
    Dialogue("S182", greeted(b"* OK Welcome\r\nAuthorised use only.\r\n")),
    Dialogue("S183", _after_banner),
    Dialogue("S184", all_of(_alert("LOGIN"), _alert("EXAMINE"))),
    Dialogue("S185", on("LIST", _NAMES), folder="Wanted", provider={"folders": "Wanted"}),
    Dialogue("S186", on("UID FETCH", rewriting(_END, b"\r\n"))),
    Dialogue("S187", on("UID FETCH", rewriting(_END, b"))\r\n"))),
    Dialogue("S188", on("UID FETCH", rewriting(rb"BODY\[\](?:<0>)? (?=\{)", b"RFC822 "))),
    Dialogue("S189", on("UID FETCH", rewriting(rb"(BODY\[\](?:<0>)? \{\d+\})\r\n", rb"\1 \r\n"))),
    Dialogue("S190", on("UID FETCH", rewriting(_END, b"\r\n)\r\n"))),
]  # fmt: skip
REFUSED = [
    refused("S191", greeted(b"* BYE Too many connections from your IP"), status="throttled", reason="Too many"),
    refused("S192", _at_login(_then_closing(b"%t NO [AUTHENTICATIONFAILED] Invalid credentials")),
            status="authentication_failed", reason="Invalid"),
    refused("S193", _at_login(_then_closing(b"%t BYE Too many connections\r\n")),
            status="throttled", reason="Too many", logins=999),
    refused("S194", _at_login(answering(b"%(tag)s NO")), status="authentication_failed",
            reason="the server gave no reason"),
    refused("S195", _at_login(answering(b"%(tag)s NO " + "密码错误".encode("gbk"))),
            status="authentication_failed", reason="密码错误"),
    refused("S196", _at_login(answering(b"%(tag)s NO " + "Mot de passe erroné".encode("latin-1"))),
            status="authentication_failed", reason="erroné"),
]  # fmt: skip
