"""Encoded names survive a round trip, and none breaks out of its quotes."""

from hypothesis import given
from hypothesis import strategies as st

from superimap.imap import encoding, responses
from superimap.imap.framing import Framer
from superimap.imap.types import Limits

_names = st.text(st.characters(blacklist_characters="\0\r\n", blacklist_categories=("Cs",)), max_size=50)


@given(_names.filter(lambda name: name.upper() != "INBOX"))
def test_h21_a_mailbox_name_survives_a_round_trip(name):
    argument = encoding.quote_mailbox(name)
    data = encoding.split_command("* LIST () NIL", [argument], non_sync=True)[0]
    (response,) = Framer(Limits()).feed(data)

    assert responses.parse_folder(response).name == name


@given(_names)
def test_h21_a_string_is_one_token_of_the_command(text):
    (data,) = encoding.split_command("* X", [encoding.quote_string(text), "END"], non_sync=True)
    (response,) = Framer(Limits()).feed(data)

    _, found, end = responses.parse_tokens(response)
    assert (found, end) == (text.encode(), b"END")


@given(st.sets(st.integers(1, 2000)))
def test_a_uid_set_contains_exactly_its_uids(uids):
    assert not uids or responses._expand(encoding.format_uid_set(uids).encode()) == uids
