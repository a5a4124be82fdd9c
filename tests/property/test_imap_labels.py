"""Gmail's labels, which decide whether the user sent a mail: any value is read, and none raises."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st
from imapclient import imap_utf7

from superimap.domain.mails import MailFacts, judge
from superimap.imap.errors import LimitExceeded
from superimap.imap.framing import Framer
from superimap.imap.responses import message_meta, parse_fetches
from superimap.imap.types import Limits, MessageMeta

NOW = datetime(2026, 11, 23, tzinfo=UTC)
HEAD = b'* 1 FETCH (UID 1 RFC822.SIZE 9 INTERNALDATE "01-Jan-2026 00:00:00 +0000" X-GM-LABELS '

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
ways = st.sampled_from(["quoted", "literal"])


def written(name: str, way: str) -> bytes:
    wire: bytes = imap_utf7.encode(name)
    if way == "literal":
        return b"{%d}\r\n%s" % (len(wire), wire)
    return b'"' + wire.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def read(value: bytes) -> MessageMeta | None:
    responses = list(Framer(Limits()).feed(HEAD + value + b")\r\n"))
    messages, _ = parse_fetches(responses)
    return message_meta(1, messages[1]) if 1 in messages else None


def reason(meta: MessageMeta) -> object:
    return judge(MailFacts(NOW, 100, meta.internal_date, meta.size or 0, meta.labels))[1]


@given(st.lists(st.tuples(names, ways), max_size=8))
def test_every_label_is_read_unchanged(labels):
    meta = read(b"(" + b" ".join(written(*label) for label in labels) + b")")

    assert meta is not None
    assert meta.labels == tuple(name if name.upper() != "INBOX" else "INBOX" for name, _ in labels)


@given(st.lists(names.filter(lambda name: not name.startswith("\\")), max_size=8))
def test_no_label_that_a_person_can_assign_hides_a_mail(labels):
    """Gmail's own labels begin with a backslash; labels that people create cannot."""
    meta = read(b"(" + b" ".join(written(label, "quoted") for label in labels) + b")")

    assert meta is not None
    assert reason(meta) is None


@given(st.binary(max_size=60))
@example(b"{100000}")
def test_no_item_in_place_of_labels_raises_unless_it_exceeds_a_limit(junk):
    try:
        meta = read(junk)
    except LimitExceeded:  # it announces a literal that is too long
        meta = None

    if meta is not None:
        reason(meta)


nested = st.recursive(
    st.none() | st.integers() | st.binary(max_size=10) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
)


@given(nested)
def test_no_parsed_value_in_place_of_labels_raises(value):
    items = {"RFC822.SIZE": 9, "INTERNALDATE": b"01-Jan-2026 00:00:00 +0000", "X-GM-LABELS": value}

    meta = message_meta(1, items)

    assert meta is not None
    reason(meta)
