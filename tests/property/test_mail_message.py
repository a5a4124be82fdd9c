"""Does nothing that anybody may send make the parser raise?"""

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from superimap.mail.envelope import as_json, fingerprint
from superimap.mail.message import parse, text_of

SEED = (
    b'From: "A, B" <a@x.org> (c), g: d@e.f;\r\nTo: =?utf-8?q?x?= <b@[1.2.3.4]>\r\n y@z\r\n'
    b"Subject: =?x?\r\n\tfold\r\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@x>\r\nCc: <@r,@s:t@u>\r\n\r\nbody\r\n"
)


@st.composite
def _mutated(draw) -> bytes:
    raw = bytearray(SEED)
    for _ in range(draw(st.integers(1, 10))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 10))] = draw(
            st.one_of(
                st.binary(max_size=5),
                st.sampled_from([b'"', b"\\", b"<", b"(", b"\r\n", b"\n\n", b"@", b":", b";", b"\0"]),
            )
        )
    return bytes(raw)


_raws = st.one_of(st.binary(max_size=500), _mutated())


@given(_raws)
def test_parsing_never_raises_and_what_comes_out_can_be_stored(raw):
    mail = parse(raw)
    found = json.dumps(as_json(mail.envelope))

    assert "\\u0000" not in found
    assert mail.size == len(raw)
    assert mail.message_id is None or (0 < len(mail.message_id) <= 255 and "\0" not in mail.message_id)
    assert (fingerprint(mail.envelope) is None) == (mail.message_id is None)
    found.encode()
    mail.envelope.__repr__().encode("utf-8", "strict")


@given(_raws)
def test_the_digest_is_of_the_raw_bytes(raw):
    assert parse(raw).sha1 == hashlib.sha1(raw).hexdigest()


@given(_raws)
def test_text_that_was_not_changed_is_the_bytes(raw):
    text, changed = text_of(raw)

    assert (text.encode() == raw) is not changed


@given(
    st.text(
        st.characters(blacklist_characters="\0\r\n", blacklist_categories=("Cs", "Cc", "Zs")),
        min_size=1,
        max_size=50,
    )
)
def test_a_subject_comes_out_as_it_went_in(subject):
    assert parse(b"Subject: " + subject.encode() + b"\r\n\r\n").envelope.subject == subject.strip()
