"""Reported greetings, capability lists and refusals of logins."""

from __future__ import annotations

import re
from collections.abc import Callable

from superimap.testing import ImapServer
from superimap.testing.imap.hooks import answering, ending, only
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand
from tests.support.dialogues.dialogue import Dialogue, all_of, announced, greeted, offering, on, refused

REFUSED = "authentication_failed"


def login(text: bytes, *, times: int | None = None) -> Callable[[ImapServer], None]:
    """Refuse logins with this text."""
    return on("LOGIN", only(answering(b"%(tag)s " + text), times=times))


async def _capabilities_first(session: FakeSession, command: ClientCommand) -> bytes:
    """List the capabilities in an untagged response before the OK, as Gmail does."""
    return re.sub(rb"(\S+ OK) \[(CAPABILITY [^\]]*)\]", rb"* \2\r\n\1", session.usual_answer(command))


def _bye_first(imap: ImapServer) -> None:
    answers = iter([b"* BYE\r\n", b"* BYE Server busy\r\n"])
    usual = imap.greeting
    imap.greeting = lambda session: next(answers, None) or usual(session)  # type: ignore[operator, misc]


def _require_id(imap: ImapServer) -> None:
    """Open no mailbox before ID, as 163.com."""
    known: set[int] = set()

    async def learn(session: FakeSession, _command: ClientCommand) -> None:
        known.add(session.id)

    async def refuse(session: FakeSession, command: ClientCommand) -> bytes | None:
        is_known = session.id in known
        return None if is_known else command.tag + b" NO EXAMINE Unsafe Login. Please contact kefu\r\n"

    imap.on("ID", learn)
    imap.on("EXAMINE", refuse)
    imap.on("SELECT", refuse)


async def _refuse_untagged(session: FakeSession, _command: ClientCommand) -> bytes:
    session.send(b"* NO [AUTHENTICATIONFAILED] Invalid credentials\r\n* BYE Too many failures\r\n")
    session.close()
    return b""


QQ = (
    b"NO Login fail. Account is abnormal, service is not open, password is incorrect, login frequency limited, "
    b"or system is busy. More information at https://mail.example.com/help"
)
ENABLE = b"[ALERT] Please enable IMAP access in your account settings first."
DIALOGUES = [
    Dialogue("S004", _require_id),
    refused("S008", login(QQ), status=REFUSED, reason="password is incorrect", logins=12),
    refused("S009", on("LOGIN", _refuse_untagged), status=REFUSED, reason="Invalid credentials", logins=12),
    Dialogue("S051", greeted(b"* OK [CAPABILITY IMAP4rev1 LITERAL+ ID AUTH=PLAIN] mail.example.com ready\r\n")),
    Dialogue("S052", on("LOGIN", _capabilities_first)),
    Dialogue("S089", login(b"NO [UNAVAILABLE] Account is temporarily unavailable.", times=3)),
    refused("S090", on("LOGIN", answering(
        b"%(tag)s NO Login failed - the password for account joe is incorrect",
        b"* BYE Autologout; authentication failed")), status=REFUSED, reason="password"),
    Dialogue("S091", login(b"NO System error", times=3)),
    Dialogue("S092", login(b"BAD [UNAVAILABLE] Service temporarily unavailable", times=3)),
    Dialogue("S093", login(b"NO [UNAVAILABLE] Temporary authentication failure.", times=3)),
    Dialogue("S094", login(b"NO [ALERT] Too many simultaneous connections.", times=2)),
    refused("S096", login(
        b"NO [ALERT] Application-specific password required: https://example.com/1 (Failure)"),
            status=REFUSED, reason="Application-specific"),
    refused("S097", login(b"NO [ALERT] Please log in via your web browser: https://example.com/2 (Failure)"),
            status=REFUSED, reason="web browser"),
    refused("S098", all_of(
        on("LOGIN", answering(b"%(tag)s OK " + ENABLE)), on("CAPABILITY", answering(b"%(tag)s NO " + ENABLE)),
        on("EXAMINE", answering(b"%(tag)s NO " + ENABLE))), status="backing_off",
            reason="enable IMAP access", logins=999),
    refused("S099", offering("IMAP4", "IMAP4rev1", "AUTH=NTLM", "AUTH=GSSAPI", "LOGINDISABLED", "IDLE"),
            status="backing_off", reason="accepts no password", logins=0),
    refused("S100", login(b"NO LOGIN failed."), status=REFUSED, reason="LOGIN failed"),
    refused("S101", greeted(b"* NO LOGOUT Intrusion prevention active for 192.0.2.1\r\n"),
            status="backing_off", reason="Intrusion prevention"),
    refused("S102", greeted(b"220-mail.example.com ESMTP ready\r\n"), status="backing_off", reason="220-mail"),
    Dialogue("S103", _bye_first),
    Dialogue("S104", greeted(b"* OK Coremail System IMap Server Ready(163com[8db726ec93e9d4e3])\r\n")),
    Dialogue("S105", on("LOGIN", only(ending(), times=3))),
    refused("S106", greeted(b"+OK POP3 ready\r\n"), status="backing_off", reason="POP3"),
    Dialogue("S108", on("LOGIN", announced(b"* OK [ALERT] Maintenance at noon", b"* NO [ALERT] Please pay"))),
]  # fmt: skip
