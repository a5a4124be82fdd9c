"""The folder to watch is found by its special use or its name, and opened by the bytes that were listed."""

import pytest

from superimap.idler.folder_choice import choose_folder
from superimap.imap import encoding, folders
from superimap.imap.framing import Framer
from superimap.imap.types import Limits


def listed(*lines: bytes):
    """Return the folders of these LIST responses, without the words `* LIST`."""
    responses = Framer(Limits()).feed(b"".join(b"* LIST " + line + b"\r\n" for line in lines))
    return [folders.parse_folder(response) for response in responses]


@pytest.mark.parametrize(
    ("line", "name", "raw", "delimiter"),
    [
        (b'() "/" "[Gmail]/Entw&APw-rfe"', "[Gmail]/Entwürfe", b"[Gmail]/Entw&APw-rfe", "/"),
        (b"() NIL inbox", "INBOX", b"inbox", None),
        (b'() "/" NIL', "NIL", b"NIL", "/"),
        (b'() "." {3}\r\na"b', 'a"b', b'a"b', "."),
        (b'() "." {4+}\r\na\r\nb', "a\r\nb", b"a\r\nb", "."),
        (b'() "/" 2024', "2024", b"2024", "/"),
        (b'() "/" 007', "007", b"007", "/"),
        (b'() "/" [Gmail]/All', "[Gmail]/All", b"[Gmail]/All", "/"),
        (b'() "/" Sent Items', "Sent Items", b"Sent Items", "/"),
        (b'() "/" "a&b"', "a&b", b"a&b", "/"),
        (b'() "/" "a&-b"', "a&b", b"a&-b", "/"),
        (b'() "/" "R&D &AOk"', "R&D &AOk", b"R&D &AOk", "/"),
        (b'() "/" "Envoy\xc3\xa9s"', "Envoyés", b"Envoy\xc3\xa9s", "/"),
        (b'() "/" "Envoy\xe9s"', "Envoyés", b"Envoy\xe9s", "/"),
        (b'() "/" Envoy\xc3\xa9s', "Envoyés", b"Envoy\xc3\xa9s", "/"),
        (b'() "/" "trailing  "', "trailing  ", b"trailing  ", "/"),
        (b'() "/" " leading"', " leading", b" leading", "/"),
        (b'() "\\\\" "a\\\\b" ("CHILDINFO" ("SUBSCRIBED"))', "a\\b", b"a\\b", "\\"),
        (b'() "\\" "a\\b"', "a\\b", b"a\\b", "\\"),
        (b'() "/" "a \\"b\\" c"', 'a "b" c', b'a "b" c', "/"),
        (b'() "/" "a "b" c"', 'a "b" c', b'a "b" c', "/"),
        (b'() "/" "(a) {b} %*"', "(a) {b} %*", b"(a) {b} %*", "/"),
        (b'() "" "flat"', "flat", b"flat", None),
        (b"() nil flat", "flat", b"flat", None),
        (b"() . flat", "flat", b"flat", "."),
        (b'() {1}\r\n/ "a/b"', "a/b", b"a/b", "/"),
        (b'(\\HasNoChildren)  "/"  "two blanks" ', "two blanks", b"two blanks", "/"),
        (b'() "/" "&2AA-"', "\ufffd", b"&2AA-", "/"),
        (b'() "/" "&AAA-"', "\ufffd", b"&AAA-", "/"),
    ],
)
def test_a_listed_folder_keeps_its_bytes(line, name, raw, delimiter):
    (folder,) = listed(line)

    assert (folder.name, folder.raw, folder.delimiter) == (name, raw, delimiter)


@pytest.mark.parametrize("line", [b"", b"x y z", b'() "/"', b'() "/" ""x', b'() "/" ("a")', b"((() a b"])
def test_a_list_response_without_a_name_names_no_folder(line):
    assert listed(line) in ([None], [])


@pytest.mark.parametrize(
    ("attributes", "uses"),
    [
        (b"\\HasNoChildren \\all", {"\\HasNoChildren", "\\All"}),
        (b"\\ALLMAIL", {"\\All"}),
        (b"\\Spam \\Starred", {"\\Junk", "\\Flagged"}),
        (b"\\noselect", {"\\Noselect"}),
        (b"", set()),
    ],
)
def test_special_uses_have_one_spelling(attributes, uses):
    (folder,) = listed(b"(" + attributes + b') "/" "x"')

    assert folder.attributes == uses


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b"a&b", [b'"a&b"\r\n']),
        (b'a "b" \\c ', [b'"a \\"b\\" \\\\c "\r\n']),
        (b"Envoy\xc3\xa9s", [b"{8}\r\n", b"Envoy\xc3\xa9s\r\n"]),
        (b"Envoy\xe9s", [b"{7}\r\n", b"Envoy\xe9s\r\n"]),
        (b"a\r\nb", [b"{4}\r\n", b"a\r\nb\r\n"]),
    ],
)
def test_a_folder_is_named_in_commands_by_the_bytes_that_were_listed(raw, sent):
    pieces = encoding.split_command("A", [encoding.quote_raw(raw)], non_sync=False)

    assert [piece.removeprefix(b"A ") for piece in pieces] == sent


GMAIL = listed(b'() "/" "INBOX"', b'(\\HasNoChildren \\All) "/" "[Gmail]/Alle Nachrichten"')


def test_C8_all_mail_is_recognised_by_its_special_use_in_any_language():
    assert choose_folder(GMAIL, ["\\All"]).name == "[Gmail]/Alle Nachrichten"
    assert choose_folder(GMAIL, []).name == "INBOX"
    assert choose_folder(GMAIL[:1], ["\\All"]).name == "INBOX"


def test_the_first_folder_that_exists_and_can_be_opened_is_watched():
    found = listed(b'(\\NoSelect) "/" Archive', b'(\\archive) "/" News', b'() "/" Work')

    assert choose_folder(found, ["Archive", "\\Archive", "Work"]).name == "News"
    assert choose_folder(found, ["\\All", "Work"]).name == "Work"
    assert choose_folder(found, ["\\All", "Gone"]).name == "INBOX"


@pytest.mark.parametrize(
    ("lines", "want", "raw"),
    [
        ([b'() "." "INBOX.Sent"'], "INBOX.Sent", b"INBOX.Sent"),
        ([b'() "." "INBOX.Sent"'], "INBOX/Sent", b"INBOX.Sent"),
        ([b'() "." "INBOX.Sent"'], "Sent", b"INBOX.Sent"),
        ([b'() "." "Inbox.Work.Reports"'], "Work/Reports", b"Inbox.Work.Reports"),
        ([b'() "/" "Work/Reports"'], "Work.Reports", b"Work/Reports"),
        ([b'() "\\\\" "Work\\\\Reports"'], "Work/Reports", b"Work\\Reports"),
        ([b'() "/" "v1.2"'], "v1.2", b"v1.2"),
        ([b'() "/" "v1.2"', b'() "/" "v1/2"'], "v1.2", b"v1.2"),
        ([b'() "." "Sent"', b'() "." "INBOX.Sent"'], "Sent", b"Sent"),
        ([b'() "/" "envoy&AOk-s"'], "Envoyés", b"envoy&AOk-s"),
        ([b'() "/" "Envoye\xcc\x81s"'], "Envoyés", b"Envoye\xcc\x81s"),
        ([b'() "/" "Envoy\xe9s"'], "Envoyés", b"Envoy\xe9s"),
        ([b'() "/" "SENT"'], "Sent", b"SENT"),
        ([b'() "/" "SENT"', b'() "/" "sent"'], "Sent", b"INBOX"),  # which one?
        ([b'() "/" "SENT"', b'() "/" "Sent"'], "Sent", b"Sent"),
        ([b'() "/" "x"', b'() "/" "x"'], "x", b"x"),
        ([b'() "/" "Sent"'], "Sen", b"INBOX"),
    ],
)
def test_a_wanted_name_is_found_whatever_delimiter_prefix_or_encoding_the_server_has(lines, want, raw):
    assert choose_folder(listed(*lines), [want]).raw == raw
