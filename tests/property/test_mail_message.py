"""No mail makes the parser raise, and its results fit the database."""

import hashlib
import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from superimap.mail.envelope import as_json
from superimap.mail.message import PIECE_BYTES, decode_text, parse
from tests.support.malformed import MALFORMED
from trials.fuzz import mails as fuzz

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
def test_parsing_never_raises_and_its_result_can_be_stored(raw):
    mail = parse(raw)
    found = json.dumps(as_json(mail.envelope))

    assert "\\u0000" not in found
    assert mail.size == len(raw)
    assert mail.message_id is None or (0 < len(mail.message_id) <= 255 and "\0" not in mail.message_id)
    assert (mail.fingerprint is None) == (mail.message_id is None)
    found.encode()
    mail.envelope.__repr__().encode("utf-8", "strict")


@given(_raws)
def test_the_digest_is_of_the_raw_bytes(raw):
    assert parse(raw).sha1 == hashlib.sha1(raw).hexdigest()


_characters = st.lists(st.sampled_from(["\U0001f642", "é", "€"]), min_size=8).map(
    lambda all: "".join(all).encode()
)


@given(_raws | _characters, st.integers(-8, 8))
def test_decoding_in_pieces_equals_decoding_the_whole(raw, offset):
    """Pieces may be cut within a character."""
    raw = b"x" * (PIECE_BYTES - len(raw) // 2 + offset) + raw
    pieces, changed = decode_text(raw)

    assert "".join(pieces) == raw.decode("utf-8", "replace")
    assert ("".join(pieces).encode() == raw) is not changed


@given(st.text("\r\nab", max_size=30), st.text("\r\nab", max_size=30), st.integers(-8, 8))
def test_the_body_digest_is_independent_of_line_endings(before, after, offset):
    """Also where a line ends at the end of a piece."""
    lines = [*before.splitlines(), "x" * (PIECE_BYTES + offset), *after.splitlines()]
    digests = {parse(b"A: b\r\n\r\n" + end.join(lines).encode()).body_digest for end in ("\r\n", "\n")}

    assert len(digests) == 1
    assert parse(b"A: b\r\n\r\n" + "\n".join([*lines, "c"]).encode()).body_digest not in digests


def test_malformed_mails_are_parsed_as_far_as_possible():
    for raw in itertools.chain(
        MALFORMED.values(), itertools.islice(fuzz.mutants([*MALFORMED.values()], 1), 1500)
    ):
        fuzz.check(raw)


@given(
    st.text(
        st.characters(blacklist_characters="\0\r\n", blacklist_categories=("Cs", "Cc", "Zs")),
        min_size=1,
        max_size=50,
    )
)
def test_a_subject_survives_a_round_trip(subject):
    assert parse(b"Subject: " + subject.encode() + b"\r\n\r\n").envelope.subject == subject.strip()
