"""Responses are parsed, and malformed ones are survived."""

import pytest

from superimap.imap import folders, responses, search_answers, statuses
from superimap.imap.errors import ProtocolError
from superimap.imap.framing import Framer
from superimap.imap.response import Response
from superimap.imap.types import Limits


def one(data: bytes) -> Response:
    (response,) = Framer(Limits()).feed(data + b"\r\n")
    return response


def meta(items: bytes):
    messages, broken = responses.parse_fetches([one(b"* 1 FETCH (" + items + b")")])
    assert not broken
    ((uid, named),) = messages.items()
    return responses.message_meta(uid, named)


REST = b'UID 5 RFC822.SIZE 9 INTERNALDATE "01-Feb-2026 10:00:00 -0530"'


LINES = b"Message-ID: <1@x.org>\r\n\r\n"


def literal(text: bytes) -> bytes:
    return b"{%d}\r\n%s" % (len(text), text)


@pytest.mark.parametrize(
    ("item", "message_id"),
    [
        (b"BODY[HEADER.FIELDS (MESSAGE-ID)] " + literal(LINES), "<1@x.org>"),
        (b"BODY[HEADER.FIELDS (Message-Id)] " + literal(LINES), "<1@x.org>"),
        (b'BODY[HEADER.FIELDS ("MESSAGE-ID")] ' + literal(LINES), "<1@x.org>"),
        (b'BODY[HEADER.FIELDS (MESSAGE-ID)] "Message-ID: <1@x.org>"', "<1@x.org>"),
        (b"BODY[HEADER.FIELDS (MESSAGE-ID)] " + literal(b"Message-ID:\r\n <1@x.org>\r\n"), "<1@x.org>"),
        (b"BODY[HEADER.FIELDS (MESSAGE-ID)] " + literal(b"message-id:<2@y>\r\n" + LINES), "<2@y>"),
        (b"BODY[HEADER.FIELDS (MESSAGE-ID)] " + literal(b"Subject: s\r\nFrom: a@b\r\n" + LINES), "<1@x.org>"),
        (b"BODY[HEADER.FIELDS (MESSAGE-ID)] " + literal(b"Message-ID: \xff\0\r\n"), "\ufffd\ufffd"),
        (b"BODY[HEADER.FIELDS (MESSAGE-ID)] " + literal(b"\r\n"), None),
        (b"BODY[HEADER.FIELDS (MESSAGE-ID)] " + literal(b""), None),
        (b'BODY[HEADER.FIELDS (MESSAGE-ID)] ""', None),
        (b"BODY[HEADER.FIELDS (MESSAGE-ID)] NIL", None),
        (b"BODY[HEADER.FIELDS (MESSAGE-ID)] 7", None),
        (b"BODY[HEADER.FIELDS (MESSAGE-ID)] (x)", None),
        (b"BODY[]<0> " + literal(LINES + b"body"), "<1@x.org>"),
        (b"ENVELOPE (NIL NIL)", None),
    ],
)
def test_the_message_id_is_read_from_header_lines(item, message_id):
    found = meta(REST + b" " + item)

    assert (found.uid, found.size, found.message_id) == (5, 9, message_id)


def test_h26_an_internal_date_has_a_time_zone():
    assert meta(REST).internal_date.isoformat() == "2026-02-01T10:00:00-05:30"


@pytest.mark.parametrize(
    "date",
    [
        b"NIL", b'"nonsense"', b'""', b'"32-Feb-2026 00:00:00 +0000"', b'"01-Feb-2026 00:00:00 +9999"', b"7",
        b'"31-Dec-9999 23:00:00 -1200"',
    ],
)  # fmt: skip
def test_an_invalid_internal_date_is_unknown(date):
    assert meta(b"UID 5 RFC822.SIZE 9 INTERNALDATE " + date).internal_date is None


@pytest.mark.parametrize("size", [b"NIL", b"x", b"-1", b'""', b"(1)"])
def test_an_invalid_size_is_unknown(size):
    assert meta(REST.replace(b"SIZE 9", b"SIZE " + size)).size is None


@pytest.mark.parametrize(
    ("said", "size"), [(b"0009", 9), (b"9" * 19, responses.SIZE_MAX), (b"9" * 40, responses.SIZE_MAX)]
)
def test_a_size_is_capped_at_what_a_database_can_store(said, size):
    assert meta(REST.replace(b"SIZE 9", b"SIZE " + said)).size == size


def test_gmail_labels_are_decoded():
    assert meta(REST + b' X-GM-LABELS ("\\\\Sent" Plain "Entw&APw-rfe" 2024)').labels == (
        "\\Sent",
        "Plain",
        "Entwürfe",
        "2024",
    )


def test_an_unsolicited_fetch_gives_no_metadata():
    assert meta(b"UID 5 FLAGS (\\Seen)") is None
    assert responses.parse_fetches([one(b"* 1 FETCH (FLAGS ())")]) == ({}, 0)


@pytest.mark.parametrize(
    "line",
    [
        b"* 1 FETCH",
        b"* 1 FETCH (UID",
        b"* 1 FETCH (UID 5 X)",
        b"* 1 FETCH ((",
        b"* 1 FETCH " + b"(" * 10_000,
        b'* 1 FETCH (A"b" 1)',
    ],
)
def test_malformed_responses_are_counted(line):
    assert responses.parse_fetches([one(line)]) == ({}, 1)


HASHED = statuses.parse_uid_validity(b"-1")


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (b"INBOX (UIDVALIDITY 1713632002544 UIDNEXT 7)", {"UIDVALIDITY": 1713632002544, "UIDNEXT": 7}),
        (b"INBOX (uidvalidity 0 messages 007)", {"UIDVALIDITY": 0, "MESSAGES": 7}),
        (b"INBOX (UIDVALIDITY -1 UIDNEXT -1 MESSAGES +3)", {"UIDVALIDITY": HASHED}),
        (b"INBOX (UIDNEXT 0 MESSAGES 0)", {"MESSAGES": 0}),
        (b"INBOX (UIDNEXT NIL MESSAGES 2)", {"MESSAGES": 2}),
        (b"INBOX (UIDNEXT 99999999999999999999 MESSAGES 2)", {"MESSAGES": 2}),
        (b'"a (b) c" (MESSAGES 2 UIDNEXT)', {"MESSAGES": 2}),
        (b"a(b  (MESSAGES 2) ", {"MESSAGES": 2}),
        (b"{3}\r\na(b (MESSAGES 2)", {"MESSAGES": 2}),
        (
            b'INBOX (MESSAGES "3" UIDNEXT "4" UIDVALIDITY "17")',
            {"MESSAGES": 3, "UIDNEXT": 4, "UIDVALIDITY": 17},
        ),
        (b"INBOX (MESSAGES 3, UIDNEXT 4)", {"MESSAGES": 3, "UIDNEXT": 4}),
        (b"INBOX (MESSAGES 3 HIGHESTMODSEQ (a b) UIDNEXT 4)", {"MESSAGES": 3, "UIDNEXT": 4}),
        (b"INBOX (MESSAGES 3) (UIDNEXT 4)", {"MESSAGES": 3, "UIDNEXT": 4}),
        (b"INBOX MESSAGES 3 UIDNEXT 4", {"MESSAGES": 3, "UIDNEXT": 4}),
        (b"INBOX (MESSAGES 3.0 UIDNEXT 4.5)", {}),
        (b'"a (MESSAGES 9" (UIDNEXT 4)', {"UIDNEXT": 4}),
        (b"MESSAGES (MESSAGES 2)", {"MESSAGES": 2}),
        (b"INBOX ()", {}),
        (b"INBOX", {}),
    ],
)
def test_counts_of_a_status_that_are_no_numbers_are_left_out(line, counts):
    assert responses.mailbox_status(one(b"* STATUS " + line)) == counts


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (b"0", 0),
        (b"7", 7),
        (b"0007", 7),
        (b"7 and text", 7),
        (b"4294967296", 1 << 32),
        (b"1713632002544", 1713632002544),
        (b"9223372036854775807", statuses.UID_MAX),
        (b"0" * 100_000 + b"7", 7),
        (b'"17"', 17),
        (b"17)", 17),
        (b"", None),
        (b'""', None),
        (b" ", None),
    ],
)
def test_a_uidvalidity_of_up_to_63_bits_is_kept(value, number):
    assert statuses.parse_uid_validity(value) == number


@pytest.mark.parametrize("value", [b"-1", b"+1", b"9223372036854775808", b"9" * 100_000, b"x", b"NIL"])
def test_any_other_uidvalidity_has_a_number_that_differs_when_it_does(value):
    number = statuses.parse_uid_validity(value)

    assert number is not None
    assert 0 <= number <= statuses.UID_MAX
    assert number == statuses.parse_uid_validity(value) != statuses.parse_uid_validity(value + b"1")


@pytest.mark.parametrize(
    ("value", "uid"),
    [
        (b"1", 1),
        (b"0000000000000000000000001", 1),
        (b"19564493749", 19564493749),
        (b"9223372036854775807", statuses.UID_MAX),
        (b"9223372036854775808", None),
        (b"9" * 100_000, None),
        (b"0", None),
        (b"+1", None),
        (b" 1", None),
        (b"1.0", None),
        (b"-1", None),
        (b'"1"', 1),
        (b"", None),
    ],
)
def test_a_uid_is_a_number_of_up_to_63_bits(value, uid):
    assert statuses.parse_uid(value) == uid


@pytest.mark.parametrize("said", [b"5", b"0005", b'"5"'])
def test_a_uid_in_a_fetch_response_may_have_leading_zeros_or_quotes(said):
    assert list(responses.parse_fetches([one(b"* 1 FETCH (UID " + said + b")")])[0]) == [5]


@pytest.mark.parametrize("said", [b"0", b"NIL", b"-5", b"x", b"(5)"])
def test_a_fetch_response_without_a_usable_uid_is_left_out(said):
    assert not responses.parse_fetches([one(b"* 1 FETCH (UID " + said + b" FLAGS ())")])[0]


def test_search_results_may_have_several_lines_and_forms():
    lines = [
        b"* SEARCH 3 1",
        b"* SEARCH",
        b"* search 9 (MODSEQ 917162500)",
        b'* ESEARCH (TAG "A1") UID COUNT 4 ALL 4:6,20',
        b"* ESEARCH",
    ]

    assert search_answers.found_uids(map(one, lines)) == {1, 3, 4, 5, 6, 9, 20}


def test_uids_of_up_to_63_bits_are_found():
    found = search_answers.found_uids([one(b"* SEARCH 007 4294967296 99999999999999999999")])

    assert found == {7, 1 << 32}


@pytest.mark.parametrize("bad", [b",", b":", b"0:5", b"5:*", b"1,,2", b"x"])
def test_an_invalid_set_is_an_error(bad):
    with pytest.raises(ProtocolError):
        search_answers.found_uids([one(b"* ESEARCH UID ALL " + bad)])


@pytest.mark.parametrize(
    ("text", "code", "value", "rest"),
    [
        (b"[UIDVALIDITY 42] UIDs", "UIDVALIDITY", b"42", "UIDs"),
        (b"[read-only] x", "READ-ONLY", b"", "x"),
        (b'[BADCHARSET ("a]b" c)] no', "BADCHARSET", b'("a]b" c)', "no"),
        (b"[UIDVALIDITY 1]extra", "UIDVALIDITY", b"1", "extra"),
        (b"[uidvalidity\t1]\ttext", "UIDVALIDITY", b"1", "text"),
        (b"[ UIDVALIDITY  1 ] x", "UIDVALIDITY", b"1", "x"),
        (b"[UIDNEXT 7]", "UIDNEXT", b"7", ""),
        (b"\0[ALERT] x\0y", None, b"", "[ALERT] x y"),
        (b"[] x", None, b"", "[] x"),
        (b"[unclosed x", None, b"", "[unclosed x"),
        (b"a\x1b[31m\r\nb\xff", None, b"", "a [31m b\u00ff"),
        (b"", None, b"", ""),
    ],
)
def test_response_codes_are_split_from_the_text(text, code, value, rest):
    assert statuses.parse_status(text) == statuses.Status(rest, code, value)


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        (b'"01-Feb-2026 10:00:00 +0000"', "2026-02-01T10:00:00+00:00"),
        (b'" 1-Feb-2026 10:00:00 -0530"', "2026-02-01T10:00:00-05:30"),
        (b'"1-feb-2026 1:02:03 +0100"', "2026-02-01T01:02:03+01:00"),
        (b'"01-Feb-26 10:00:00 +0000"', "2026-02-01T10:00:00+00:00"),
        (b'"Sun, 01 Feb 2026 10:00:00 +0000"', "2026-02-01T10:00:00+00:00"),
        (b"{26}\r\n01-Feb-2026 10:00:00 +0000", "2026-02-01T10:00:00+00:00"),
        (b"NIL", None),
        (b'""', None),
        (b'"00-Jan-0000 00:00:00 +0000"', None),
        (b'"01-Jan-1970 00:00:00 +0000"', None),
        (b'"01-Feb-126 10:00:00 +0000"', None),
        (b'"01-Feb-2026 10:00:00"', None),  # of which zone?
        (b'"01-Feb-2026 25:00:00 +0000"', None),
        (b'"29-Feb-2025 00:00:00 +0000"', None),
        (b'"2026-02-01T10:00:00Z"', None),
        (b"1769940000", None),
        (b'("x")', None),
        (b'"' + b"1" * 10_000 + b'"', None),
    ],
)
def test_an_internal_date_that_is_none_is_unknown(date, moment):
    found = meta(b"UID 5 RFC822.SIZE 9 INTERNALDATE " + date).internal_date

    assert (found.isoformat() if found else None) == moment


@pytest.mark.parametrize(
    ("size", "number"),
    [
        (b"9", 9),
        (b'"9"', 9),
        (b"009", 9),
        (b"0", 0),
        (b"NIL", None),
        (b"-1", None),
        (b'"9 KB"', None),
        (b"(9)", None),
    ],
)
def test_a_size_that_is_none_is_unknown(size, number):
    assert meta(REST.replace(b"SIZE 9", b"SIZE " + size)).size == number


@pytest.mark.parametrize(
    "name",
    [b"BODY[]", b"body[]", b"Body[]<0>", b"BODY[]<0.32768>", b"BODY.PEEK[]", b"BODY.PEEK[]<0>"],
)
def test_the_content_is_found_under_any_name_that_servers_give_it(name):
    named = responses.parse_fetches([one(b"* 1 FETCH (X-NEW (a b) " + name + b" {3}\r\na\r\n UID 5)")])[0]

    assert responses.message_content(named[5]) == b"a\r\n"
    assert responses.message_content(named[5], "HEADER") is None


@pytest.mark.parametrize(
    ("value", "content"),
    [(b'"quoted"', b"quoted"), (b"NIL", None), (b"{0}\r\n", b""), (b'""', b""), (b"(a)", None)],
)
def test_content_may_be_a_string_of_any_kind(value, content):
    named = responses.parse_fetches([one(b"* 1 FETCH (UID 5 BODY[] " + value + b")")])[0]

    assert responses.message_content(named[5]) == content


def test_an_answer_may_be_split_over_several_responses():
    parts = [
        b"UID 5 RFC822.SIZE 9",
        b"FLAGS (\\Seen) UID 5",
        b'INTERNALDATE "01-Feb-2026 10:00:00 +0000" UID 5',
    ]

    named = responses.parse_fetches([one(b"* 1 FETCH (" + part + b")") for part in parts])[0]

    assert (responses.message_meta(5, named[5]).size, named[5].keys()) == (
        9,
        {"UID", "RFC822.SIZE", "FLAGS", "INTERNALDATE"},
    )


def test_content_without_a_uid_is_that_of_the_only_message_asked_for():
    line = one(b"* 1 FETCH (BODY[] {1}\r\nx)")

    for wanted, messages in (((5,), {5: {"BODY[]": b"x"}}), ((5, 6), {}), ({5}, {})):
        answer = responses.FetchAnswer(wanted)
        answer.read(line)
        assert answer.messages == messages


@pytest.mark.parametrize(
    ("line", "tidy"),
    [
        (b"* 5 EXISTS", b"* 5 EXISTS"),
        (b"*  5\t EXISTS", b"* 5 EXISTS"),
        (b"*\tOK\t[UIDNEXT 5]", b"* OK [UIDNEXT 5]"),
        (b"*OK [UIDNEXT 5] x", b"* OK [UIDNEXT 5] x"),
        (b"* OK[UIDNEXT 5]  x", b"* OK [UIDNEXT 5]  x"),
        (b"* ok", b"* ok"),
        (b"* 5 FETCH(UID 5)", b"* 5 FETCH (UID 5)"),
        (b"* LIST() / x", b"* LIST () / x"),
        (b"*", b"*"),
        (b"* (", b"* ("),
    ],
)
def test_an_untagged_response_may_have_any_blanks_after_its_words(line, tidy):
    assert statuses.tidy_untagged(line) == tidy == statuses.tidy_untagged(tidy)


@pytest.mark.parametrize(
    ("line", "result", "code", "text"),
    [
        (b"A1 OK done", "OK", None, "done"),
        (b"A1 OK", "OK", None, ""),
        (b"A1\tno\t[TRYCREATE]x", "NO", "TRYCREATE", "x"),
        (b"A1  Bad  x {3}", "BAD", None, "x {3}"),
        (b"A1 OK[READ-ONLY] x", "OK", "READ-ONLY", "x"),
    ],
)
def test_a_tagged_response_may_have_any_blanks_and_letter_case(line, result, code, text):
    tag, found, said = statuses.parse_tagged(line)

    assert (tag, found, said.code, said.text) == (b"A1", result, code, text)


@pytest.mark.parametrize(
    "line", [b"A1", b"A1 ", b"A1 OKAY", b"A1 PREAUTH x", b"OK done", b" A1 OK", b"A1 OK2"]
)
def test_anything_else_is_no_tagged_response(line):
    assert statuses.parse_tagged(line) is None


@pytest.mark.parametrize("later", [
    b"BODY[] NIL", b'BODY[] ""', b"BODY[]<0> NIL", b'RFC822 ""', b"INTERNALDATE NIL RFC822.SIZE NIL",
    b"FLAGS (\\Seen)",
])  # fmt: skip
@pytest.mark.parametrize("name", [b"BODY[]", b"BODY[]<0>", b"RFC822"])
def test_a_later_answer_about_a_mail_erases_nothing_that_is_known(name, later):
    answers = [
        Response((b'* 1 FETCH (UID 7 RFC822.SIZE 4 INTERNALDATE "01-Jan-2026 10:00:00 +0000" ' + name + b" {4}",
                  b")"), (b"mail",)),
        Response((b"* 1 FETCH (UID 7 " + later + b")",)),
    ]  # fmt: skip
    for order in (answers, answers[::-1]):
        messages, broken = responses.parse_fetches(order)

        assert not broken
        assert responses.message_content(messages[7]) == b"mail"
        meta = responses.message_meta(7, messages[7])
        assert meta is not None
        assert (meta.size, meta.internal_date is not None) == (4, True)


PADDING = b"1 " * 40_000


@pytest.mark.parametrize("parse", [
    lambda: responses.parse_fetches([Response((b"* 1 FETCH (UID 7 X (" + PADDING + b"))",))])[1] == 1,
    lambda: responses.mailbox_status(Response((b"* STATUS x (MESSAGES 3 X (" + PADDING + b"))",))) == {},
    lambda: folders.parse_folder(Response((b'* LIST () "/" "' + PADDING + b'"',))) is None,
    lambda: folders.parse_folder(Response((b'* LIST () "/" {%d}' % len(PADDING), b""), (PADDING,))) is None,
    lambda: responses.internal_date(PADDING) is None,
], ids=["FETCH", "STATUS", "LIST", "LIST, literal", "INTERNALDATE"])  # fmt: skip
def test_a_text_that_no_honest_server_needs_is_not_parsed(parse):
    assert parse()


@pytest.mark.parametrize(("text", "encoding"), [
    ("Invalid password", "ascii"), ("Mot de passe erroné", "utf-8"), ("Mot de passe erroné", "latin-1"),
    ("AUTENTICAÇÃO FALHOU", "latin-1"), ("échec", "latin-1"), ("密码错误", "utf-8"), ("密码错误", "gbk"),
    ("登录失败: 密码错误 (joe)", "gb18030"),
])  # fmt: skip
def test_a_text_is_read_in_the_encoding_in_which_it_was_written(text, encoding):
    assert statuses.decode_text(text.encode(encoding)) == text


def test_a_text_is_cut_between_characters():
    assert statuses.decode_text("é".encode() * 100, longest=10) == 10 * "é"
    assert statuses.decode_text(b"a" + "é".encode() * 100, longest=10) == "a" + 9 * "é"
