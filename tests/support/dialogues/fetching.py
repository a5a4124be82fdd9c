"""Reported shapes of FETCH answers, status responses and literals."""

from __future__ import annotations

import re
from collections.abc import Callable

from superimap.testing.imap.hooks import answering, dripping, only
from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand
from tests.support.dialogues.dialogue import Dialogue, all_of, announced, is_about, mail, on, rewriting

LOOKALIKE = mail(
    "lookalike",
    headers="X-Spam-Flag: NO\r\n",
    body="A0001 NO not an answer\r\n* BYE not a farewell\r\n)\r\n* 7 EXISTS\r\n+ go on {42}\r\n",
)


async def _forget_partial(session: FakeSession, command: ClientCommand) -> bytes | None:
    if not is_about(command, "<0."):
        return None
    return re.sub(rb" BODY\[\]<0> \{\d+\}.*?(?=\)\r\n)", b"", session.usual_answer(command), flags=re.DOTALL)


async def _cut_partial(session: FakeSession, command: ClientCommand) -> bytes | None:
    if not is_about(command, "<0."):
        return None
    shorter = rb"BODY[]<0> {10}\r\nDate: Mon,"
    return re.sub(
        rb"BODY\[\]<0> \{\d+\}.*?(?=\)\r\n)", shorter, session.usual_answer(command), flags=re.DOTALL
    )


async def _announce_more(session: FakeSession, command: ClientCommand) -> bytes | None:
    if not is_about(command, "BODY.PEEK[]"):
        return None
    return re.sub(rb"(BODY\[\](?:<0>)?) \{\d+\}", rb"\1 {225752}", session.usual_answer(command))


async def _announce_less(session: FakeSession, command: ClientCommand) -> bytes | None:
    """Send two bytes more of the first mail than are announced."""
    answer = session.usual_answer(command)
    mark = b"Subject: early"
    if mark not in answer or not is_about(command, "BODY.PEEK[]"):
        return answer
    return re.sub(
        rb"(BODY\[\](?:<0>)?) \{(\d+)\}",
        lambda match: b"%s {%d}" % (match[1], int(match[2]) - 2),
        answer,
        count=1,
    )


async def _require_list(session: FakeSession, command: ClientCommand) -> bytes | None:
    items = command.arguments[1]
    return None if isinstance(items, list) else command.tag + b" BAD more than one item needs parentheses\r\n"


async def _refuse_structure(_session: FakeSession, command: ClientCommand) -> bytes | None:
    if is_about(command, "ENVELOPE") or is_about(command, "BODYSTRUCTURE"):
        return command.tag + b" BAD out of memory\r\n"
    return None


async def _body_first(session: FakeSession, command: ClientCommand) -> bytes:
    """Move the UID behind everything else."""
    return re.sub(
        rb"FETCH \((UID \d+) (.*?)\)\r\n(?=\* |\S+ OK)",
        rb"FETCH (\2 \1)\r\n",
        session.usual_answer(command),
        flags=re.DOTALL,
    )


async def _break_envelope(session: FakeSession, command: ClientCommand) -> bytes | None:
    """Send a line end inside a quoted string of ENVELOPE."""
    if not is_about(command, "ENVELOPE"):
        return None
    return re.sub(rb"ENVELOPE \(", b'ENVELOPE ("some text,\r\n  and more" ', session.usual_answer(command))


async def _refuse_bodies(session: FakeSession, command: ClientCommand) -> bytes | None:
    if not is_about(command, "BODY.PEEK[]"):
        return session.usual_answer(command)
    return command.tag + b" NO [SERVERBUG] Internal error occurred. Please try again later\r\n"


def _with_body(body: Callable[[bytes], bytes]) -> Hook:
    """Send what `body` makes of each mail, with its literal, in place of it."""

    async def hook(session: FakeSession, command: ClientCommand) -> bytes | None:
        if not is_about(command, "BODY.PEEK[]"):
            return None
        answer = session.usual_answer(command)
        item = rb"(BODY\[\](?:<0>)? )\{\d+\}\r\n(.*?)(?=\)\r\n(?:\* |\S+ OK))"
        return re.sub(item, lambda match: match[1] + body(match[2]), answer, flags=re.DOTALL)

    return hook


def _followed_by(items: bytes) -> Hook:
    """Follow each answer about a mail by another one, with these items."""
    return rewriting(
        rb"(\* (\d+) FETCH \((UID \d+) .*?\)\r\n)(?=\* |\S+ OK)", rb"\1* \2 FETCH (\3 %s)\r\n" % items
    )


FETCHING = "UID FETCH"
DIALOGUES = [
    Dialogue("S001", on(FETCHING, _break_envelope)),
    Dialogue("S002", on(FETCHING, only(_refuse_bodies, times=12))),
    Dialogue("S003", on(FETCHING, only(answering(b"%(tag)s OK FETCH completed"), times=8))),
    Dialogue("S006", on(FETCHING, rewriting(
        rb'INTERNALDATE "[^"]*" RFC822.SIZE \d+', b"INTERNALDATE NIL RFC822.SIZE NIL"))),
    Dialogue("S060", on(FETCHING, only(rewriting(
        rb"(\S+) OK [^\r]*\r\n\Z", rb"\1 NO Some of the requested messages no longer exist.\r\n"), times=1))),
    Dialogue("S061", on(FETCHING, only(rewriting(rb"\* 1 FETCH .*?\)\r\n(?=\* |\S+ OK)", b""), times=1))),
    Dialogue("S062", on(FETCHING, only(answering(b"%(tag)s NO [EXPUNGEISSUED] EXPUNGE PENDING"), times=2))),
    Dialogue("S063", on(FETCHING, only(_announce_more, times=1))),
    Dialogue("S064", on(FETCHING, rewriting(
        rb"FETCH \((?=UID)", b"FETCH (BODY[1.2] {0}\r\n BODY[1.1] {0}\r\n "))),
    Dialogue("S065", on("NOOP"), early=LOOKALIKE, late=LOOKALIKE.replace(b"lookalike", b"another")),
    Dialogue("S066", on(FETCHING, dripping(7, 0.0))),
    Dialogue("S067", on(FETCHING, rewriting(rb' INTERNALDATE "[^"]*"', b""))),
    Dialogue("S068", on(FETCHING, rewriting(
        rb'INTERNALDATE "[^"]*"', b'INTERNALDATE "Tue, 31 Dec 2024 23:00:02 +9900"'))),
    Dialogue("S069", on(FETCHING, rewriting(
        rb'INTERNALDATE "[^"]*"', b'INTERNALDATE "7-Jan-2099 01:02:03 +0000"'))),
    Dialogue("S070", on(FETCHING, rewriting(rb"\)\r\n(?=\* |\S+ OK)", b" )\r\n"))),
    Dialogue("S071", on(FETCHING, _body_first)),
    Dialogue("S072", on(FETCHING, _forget_partial)),
    Dialogue("S073", on(FETCHING, _cut_partial)),
    Dialogue("S074", on(FETCHING, _announce_less), delivered=frozenset({2})),
    Dialogue("S075", on(FETCHING, _require_list)),
    Dialogue("S076", on("*", rewriting(rb"(\S+ OK)(?: \[[^\]]*\])?[^\r]*\r\n\Z", rb"\1\r\n"))),
    Dialogue("S077", all_of(
        on("UID SEARCH", rewriting(rb"\* SEARCH", b"*   SEARCH")),
        on(FETCHING, rewriting(rb"\* (?=\d+ FETCH)", b"*  ")))),
    Dialogue("S078", on("*", announced(b"* NO Disk is 98% full", b"* BAD Disk crash, attempting salvage"))),
    Dialogue("S079", on("EXAMINE", announced(b"* OK [ALERT] Your mailbox moves tonight", b"* NO [ALERT] Really"))),
    Dialogue("S080", on(FETCHING, _refuse_structure)),
    Dialogue("S095", on(FETCHING, only(answering(
        b"%(tag)s NO [TEMPFAIL] UID FETCH Temporary failure on server [CODE: WBL]"), times=5))),
    Dialogue("S170", on(FETCHING, only(_with_body(lambda _: b"{0}\r\n"), times=6))),
    Dialogue("S171", on(FETCHING, only(_with_body(lambda _: b'""'), times=6))),
    Dialogue("S172", on(FETCHING, only(_with_body(lambda raw: b"{40}\r\n" + raw[:40]), times=1))),
    Dialogue("S173", on(FETCHING, _followed_by(b"BODY[] NIL INTERNALDATE NIL RFC822.SIZE NIL"))),
    Dialogue("S175", on("NOOP"), early=b"", late=b""),
    Dialogue("S174", on(FETCHING, _followed_by(b'BODY[] ""'))),
]  # fmt: skip
