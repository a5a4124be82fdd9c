"""Reported behaviour around IDLE: pushes, endings, polling."""

from __future__ import annotations

import re

from superimap.testing import ImapServer
from superimap.testing.imap.hooks import answering, ending, hanging, only
from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand
from tests.support.dialogues.dialogue import Dialogue, all_of, announced, mail, offering, on, rewriting

LATE_MAIL = mail("late")


def delivering(*, told: bool) -> Hook:
    """Deliver a mail just before the command; if `told`, announce it before the answer begins."""

    async def hook(session: FakeSession, _command: ClientCommand) -> None:
        session.server.deliver("joe", LATE_MAIL)  # type: ignore[attr-defined]
        if told:
            session.send(session.notices())

    return hook


async def _announce_within_search(session: FakeSession, command: ClientCommand) -> bytes:
    found = session.usual_answer(command)
    session.server.deliver("joe", LATE_MAIL)  # type: ignore[attr-defined]
    line, _, rest = found.partition(b"\r\n")
    return line + b"\r\n" + session.notices() + rest


def _without_recent(imap: ImapServer) -> None:
    imap.on_push = lambda _session, data: re.sub(rb"\* \d+ RECENT\r\n", b"", data)


def _only_recent_first(imap: ImapServer) -> None:
    imap.on_push = lambda _session, data: b"* 1 RECENT\r\n\r\n" + data


def _silent(imap: ImapServer) -> None:
    imap.on_push = lambda _session, _data: b""


async def _hang_up_in_idle(session: FakeSession, _command: ClientCommand) -> bytes:
    session.send(b"+ idling\r\n* BYE Server shutting down.\r\n")
    session.close()
    return b""


async def _flags_first(session: FakeSession, command: ClientCommand) -> bytes:
    return b"* FLAGS (\\Seen)\r\n* 1 FETCH (FLAGS ())\r\n" + session.usual_answer(command)


async def _speak_in_idle(session: FakeSession, command: ClientCommand) -> bytes:
    return session.usual_answer(command) + b"\r\n* OK\r\n* OK Still here\r\n* NO Disk is 98% full\r\n"


async def _refuse_with_limit(_session: FakeSession, command: ClientCommand) -> bytes:
    return command.tag + b" NO [LIMIT] Too many IDLE connections\r\n"


DIALOGUES = [
    Dialogue("S011", on("IDLE", answering(b"%(tag)s BAD Command not supported"))),
    Dialogue("S034", on("IDLE", only(delivering(told=True), times=1)), late=None),
    Dialogue("S035", on("UID SEARCH", only(_announce_within_search, times=1)), late=None),
    Dialogue("S036", on("DONE", announced(b"* 1 RECENT", b"", b"* OK Still here"))),
    Dialogue("S037", _without_recent),
    Dialogue("S038", on("IDLE", only(_hang_up_in_idle, times=3))),
    Dialogue("S039", on("IDLE", rewriting(rb"\+ [^\r]*", b"+ entering idle mode"))),
    Dialogue("S040", on("IDLE", only(answering(*[b"* BYE Autologout; idle for too long"] * 10), times=2))),
    Dialogue(
        "S041",
        on("EXAMINE", only(answering(b"%(tag)s BAD User is authenticated but not connected."), times=3)),
    ),
    Dialogue("S042", on("IDLE", _speak_in_idle)),
    Dialogue("S044", offering("IMAP4rev1", "ID", "NAMESPACE", "UIDPLUS", "LITERAL+", "CHILDREN")),
    Dialogue("S045", _only_recent_first),
    Dialogue("S130", on("DONE", hanging()), logins=6),
    Dialogue("S131", on("IDLE", _refuse_with_limit), reason="IDLE fails; polled every", logins=4),
    Dialogue("S132", on("IDLE", _flags_first)),
    Dialogue("S134", all_of(
        offering("IMAP4rev1", "UIDPLUS"), on("NOOP", ending())), reason="polled every", logins=4),
    Dialogue("S135", all_of(
        offering("IMAP4rev1", "UIDPLUS"), on("NOOP", answering(b"%(tag)s BAD what")))),
    Dialogue(
        "S046",
        all_of(
            on("IDLE", rewriting(rb"\+ [^\r]*", b"+")),
            on("DONE", rewriting(rb" OK [^\r]*", b" OK Completed (0.1 secs).")),
        ),
    ),
]  # fmt: skip
SILENT = [
    Dialogue("S043", _silent),
    Dialogue("S133", on("DONE", only(delivering(told=True), times=1)), late=None),
]
"""Servers whose mail is found by renewing the IDLE only."""
