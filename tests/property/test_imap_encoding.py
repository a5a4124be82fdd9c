"""Encoded names survive a round trip, and none breaks out of its quotes."""

from hypothesis import given
from hypothesis import strategies as st

from superimap.imap import encoding, folders, responses, search_answers
from superimap.imap.framing import Framer
from superimap.imap.response import Response
from superimap.imap.types import Limits

_names = st.text(st.characters(blacklist_characters="\0\r\n", blacklist_categories=("Cs",)), max_size=50)


@given(_names.filter(lambda name: name.upper() != "INBOX"))
def test_h21_a_mailbox_name_survives_a_round_trip(name):
    raw = folders.named(name).raw
    data = encoding.split_command("* LIST () NIL", [encoding.quote_raw(raw)], non_sync=True)[0]
    (response,) = Framer(Limits()).feed(data)

    assert (folders.parse_folder(response).name, folders.parse_folder(response).raw) == (name, raw)


@given(st.binary(min_size=1, max_size=40), st.sampled_from([b"NIL", b'"/"', b'"\\\\"', b'"."']))
def test_any_listed_name_keeps_its_bytes(name, delimiter):
    data = b"* LIST () " + delimiter + b" {%d}\r\n" % len(name) + name + b"\r\n"
    (response,) = Framer(Limits()).feed(data)

    folder = folders.parse_folder(response)
    assert folder.raw == name
    folder.name.encode()  # can be stored
    assert "\0" not in folder.name


@given(st.binary(max_size=60))
def test_any_list_response_is_survived(rest):
    line = b"* LIST " + rest.replace(b"\r\n", b"")
    folders.parse_folder(Response((line,)))


@given(_names)
def test_h21_a_string_is_one_token_of_the_command(text):
    (data,) = encoding.split_command("* X", [encoding.quote_string(text), "END"], non_sync=True)
    (response,) = Framer(Limits()).feed(data)

    _, found, end = responses.parse_tokens(response)
    assert (found, end) == (text.encode(), b"END")


@given(st.sets(st.integers(1, 2000)))
def test_a_uid_set_contains_exactly_its_uids(uids):
    line = b"* ESEARCH UID ALL " + encoding.format_uid_set(uids).encode()

    assert not uids or search_answers.found_uids([Response((line,))]) == uids
