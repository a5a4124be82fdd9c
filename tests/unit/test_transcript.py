"""Transcripts: what is shown of a line, and that nothing else is."""

from __future__ import annotations

import pytest

from superimap.imap.command import Command
from superimap.imap.encoding import Literal
from superimap.imap.response import Response
from superimap.imap.transcript import MAX_LINE_CHARS, LineDirection, RedactedTranscript


def shown(*texts: bytes) -> str:
    lines: list[str] = []
    RedactedTranscript(lambda _, line: lines.append(line), lambda text: text.replace("hunter", "…")).received(
        Response(texts, tuple(b"literal" for _ in texts[1:]))
    )
    return lines[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN p@ss] Dovecot ann ready.",
         "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN …] …"),
        (b"* CAPABILITY IMAP4rev1 SASL-IR ann@example.com", "* CAPABILITY IMAP4rev1 SASL-IR …"),
        (b"+ dXNlcj1hbm4=", "+"),
        (b"ABCD12 NO [AUTHENTICATIONFAILED] Wrong hunter for ann@example.com 4711.",
         "ABCD12 NO [AUTHENTICATIONFAILED] Wrong … for … …"),
        (b"* BYE Too many connections", "* BYE Too many connections"),
        (b"ABCD3 OK [READ-ONLY] Secret plans opened", "ABCD3 OK [READ-ONLY] …"),
        (b"* 23 EXISTS", "* 23 EXISTS"),
        (b"* LIST (\\HasNoChildren \\Sent) \"/\" \"Secret folder\"",
         '* LIST (\\HasNoChildren \\Sent) "1 bytes" "13 bytes"'),
        (b"* LIST (\\HasNoChildren) \"/\" 20261128", '* LIST (\\HasNoChildren) "1 bytes" …'),
        (b"* XLIST () NIL INBOX", "* XLIST () NIL INBOX"),
        (b"* LIST () \"/\" {8}", '* LIST () "1 bytes" {8}'),
        (b"* STATUS 4711 (MESSAGES 3)", "* STATUS … (MESSAGES 3)"),
        (b"* FLAGS (\\Seen $Secret NonJunk)", "* FLAGS (\\Seen …)"),
        (b"* 5 FETCH (UID 7 RFC822.SIZE 123 "
         b"ENVELOPE (NIL \"Secret\" ((\"Ann\" NIL \"ann\" \"x.y\")) secret) FLAGS (\\Seen))",
         '* 5 FETCH (UID 7 RFC822.SIZE 123 '
         'ENVELOPE (NIL "6 bytes" (("3 bytes" NIL "3 bytes" "3 bytes")) …) FLAGS (\\Seen))'),
        (b"* SEARCH 1 2 3 4111111111111111", "* SEARCH 1 2 3 …"),
        (b"secret stray line", "…"),
        (b'* 1 FETCH (ENVELOPE ("un"quoted secret"', '* 1 FETCH (ENVELOPE ("2 bytes" … "0 bytes"'),
    ],
)  # fmt: skip
def test_only_what_is_known_to_be_harmless_is_shown(line, expected):
    assert shown(line) == expected


def test_of_a_literal_only_the_size_is_shown():
    assert shown(b"* 1 FETCH (UID 9 BODY[] {7}", b" FLAGS ())") == "* 1 FETCH (UID 9 BODY [] {7} FLAGS ())"


def test_of_a_login_nothing_but_the_mechanism_is_shown():
    lines: list[tuple[LineDirection, str]] = []
    transcript = RedactedTranscript(lambda *line: lines.append(line), str)
    for command in (
        Command("LOGIN", "ABCD1", '"ann"', '"hunter"'),
        Command("LOGIN", "ABCD2", Literal(b"ann"), Literal(b"hunter")),
        Command("AUTHENTICATE", "ABCD3", "XOAUTH2", "dXNlcj1h"),
        Command("EXAMINE", "ABCD4", '"Secret folder"'),
        Command("EXAMINE", "ABCD4", '"INBOX"'),
        Command("EXAMINE", "ABCD4", Literal("Büro".encode())),
        Command("FETCH", "ABCD5", "1:5,9", "(UID BODY.PEEK[]<0.512>)", prefix="UID"),
        Command("SEARCH", "ABCD6", "UID 3:* SINCE 1-Feb-2026", prefix="UID"),
    ):
        transcript.sent(command)
        if isinstance(command.args[-1], Literal):
            transcript.continued(len(b"hunter"))

    assert [line for _, line in lines] == [
        "ABCD1 LOGIN …", "ABCD2 LOGIN …", "(…)", "ABCD3 AUTHENTICATE XOAUTH2 …", 'ABCD4 EXAMINE "13 bytes"',
        'ABCD4 EXAMINE "INBOX"', "ABCD4 EXAMINE {5}", "(6 bytes)",
        "ABCD5 UID FETCH 1:5,9 (UID BODY.PEEK [] <0.512>)", "ABCD6 UID SEARCH UID 3:* SINCE 1-Feb-2026",
    ]  # fmt: skip


def test_a_folder_whose_name_the_server_repeats_is_not_shown():
    lines: list[str] = []
    transcript = RedactedTranscript(lambda _, line: lines.append(line), str)
    transcript.sent(Command("EXAMINE", "ABCD1", '"Layoffs of \\"Globex\\""'))
    transcript.received(Response((b'ABCD1 NO Mailbox doesn\'t exist: Layoffs of "Globex"',), ()))
    transcript.sent(Command("EXAMINE", "ABCD2", Literal("Kündigung Bonn".encode())))
    transcript.received(Response((b"ABCD2 NO [NONEXISTENT] Mailbox bonn, is locked",), ()))
    transcript.note("ended: closed by the server: Layoffs cannot be opened")

    assert lines[1::2] == [
        "ABCD1 NO Mailbox doesn't exist: … … …", "ABCD2 NO [NONEXISTENT] Mailbox … is locked"
    ]  # fmt: skip
    assert lines[-1] == "ended: closed by the server: … cannot be opened"


def test_a_line_is_cut_and_its_end_is_not_looked_at():
    assert len(shown(b"* SEARCH " + b"1234567 " * 100_000)) == MAX_LINE_CHARS + 1
