"""An answer to UID SEARCH is read where it is unambiguous, and rejected as a whole where a part of it is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.imap.errors import ProtocolError
from superimap.imap.response import Response
from superimap.imap.search_answers import found_uids

TAG = "AB12"
READ = {
    "numbers": ([b"* SEARCH 3 1 2"], [1, 2, 3]),
    "none": ([b"* SEARCH"], []),
    "none, with a blank": ([b"* SEARCH "], []),
    "blanks and tabs": ([b"* SEARCH  3\t1   2 "], [1, 2, 3]),
    "leading zeros": ([b"* SEARCH 0000000005"], [5]),
    "repeated": ([b"* SEARCH 2 2 1 2"], [1, 2]),
    "several lines": ([b"* SEARCH 1", b"* SEARCH", b"* SEARCH 3 2"], [1, 2, 3]),
    "a modification sequence": ([b"* SEARCH 2 84 (MODSEQ 917162500)"], [2, 84]),
    "commas": ([b"* SEARCH 1,2,4"], [1, 2, 4]),
    "commas and blanks": ([b"* SEARCH 1, 2 ,4,"], [1, 2, 4]),
    "ranges": ([b"* SEARCH 1:3 7"], [1, 2, 3, 7]),
    "a set": ([b"* SEARCH 1:3,7"], [1, 2, 3, 7]),
    "a range downwards": ([b"* SEARCH 3:1"], [1, 2, 3]),
    "extended": ([b'* ESEARCH (TAG "AB12") UID ALL 1:3,5'], [1, 2, 3, 5]),
    "extended, none": ([b'* ESEARCH (TAG "AB12") UID'], []),
    "extended, none, without UID": ([b'* ESEARCH (TAG "AB12")'], []),
    "extended, counted as none": ([b'* ESEARCH (TAG "AB12") UID COUNT 0'], []),
    "extended, in small letters": ([b'* esearch (tag "ab12") uid all 2'], [2]),
    "extended, tag without quotes": ([b"* ESEARCH (TAG AB12) UID ALL 2"], [2]),
    "extended, without a tag": ([b"* ESEARCH UID ALL 2"], [2]),
    "extended, more data": ([b'* ESEARCH (TAG "AB12") UID MIN 2 MAX 4 COUNT 2 ALL 2,4 MODSEQ 9'], [2, 4]),
    "extended, data behind the set": ([b"* ESEARCH UID ALL 2,4 PARTIAL (1:2 2,4)"], [2, 4]),
    "extended, a modification sequence in parentheses": ([b"* ESEARCH UID ALL 2,4 (MODSEQ 9)"], [2, 4]),
    "both kinds": ([b"* SEARCH 1", b"* ESEARCH UID ALL 2"], [1, 2]),
}
REJECTED = {
    "a word": b"* SEARCH 1 2 x",
    "a word in front": b"* SEARCH UID 1 2",
    "a full stop": b"* SEARCH 1 2 3.",
    "a negative number": b"* SEARCH -1 2",
    "a fraction": b"* SEARCH 1.5",
    "zero": b"* SEARCH 0 2",
    "a star": b"* SEARCH 7 *",
    "an open range": b"* SEARCH 1:*",
    "half a range": b"* SEARCH 1: 3",
    "quotes": b'* SEARCH "1" "2"',
    "a list": b"* SEARCH (1 2 3)",
    "a list behind": b"* SEARCH 1 (2 3)",
    "text behind the modification sequence": b"* SEARCH 1 (MODSEQ 9) 2",
    "digits of another script": "* SEARCH 1 ٢".encode(),
    "a NUL": b"* SEARCH 1\x002",
    "extended, another tag": b'* ESEARCH (TAG "AB13") UID ALL 2',
    "extended, message numbers": b'* ESEARCH (TAG "AB12") ALL 2',
    "extended, no set": b'* ESEARCH (TAG "AB12") UID MIN 1 MAX 5',
    "extended, only counted": b'* ESEARCH (TAG "AB12") UID COUNT 3',
    "extended, another count": b"* ESEARCH UID COUNT 3 ALL 1:2",
    "extended, a part": b"* ESEARCH UID PARTIAL (1:2 4,5)",
    "extended, an open set": b"* ESEARCH UID ALL 1:*",
    "extended, blanks in the set": b"* ESEARCH UID ALL 1, 2",
    "extended, an empty set": b'* ESEARCH UID ALL ""',
    "extended, no value": b"* ESEARCH UID ALL",
    "extended, another mailbox": b'* ESEARCH (TAG "AB12" MAILBOX "x" UIDVALIDITY 1) UID ALL 2',
    "extended, a tag that says ALL": b'* ESEARCH (TAG "A ALL 9") UID ALL 2',
}


@pytest.mark.parametrize(("lines", "uids"), READ.values(), ids=READ)
def test_an_unambiguous_answer_is_read_however_it_is_written(lines, uids):
    assert list(found_uids([Response((line,)) for line in lines], TAG)) == uids


@pytest.mark.parametrize("line", REJECTED.values(), ids=REJECTED)
def test_an_answer_of_which_a_part_cannot_be_read_is_rejected(line):
    for lines in ([line], [b"* SEARCH 9", line], [line, b"* SEARCH 9"]):
        with pytest.raises(ProtocolError):
            found_uids([Response((each,)) for each in lines], TAG)


def test_a_literal_in_an_answer_is_rejected():
    with pytest.raises(ProtocolError):
        found_uids([Response((b"* SEARCH 1 {1}", b" 3"), (b"2",))])


RUNS = st.lists(st.tuples(st.integers(1, 90), st.integers(0, 4)), max_size=12)
SEPARATORS = st.sampled_from([b" ", b"\t", b"  ", b",", b", "])


@given(RUNS, st.data())
def test_every_way_to_write_uids_is_read_completely_or_rejected(runs, data):
    uids = sorted({uid for first, more in runs for uid in range(first, first + more + 1)})
    words = []
    for first, more in runs:
        if data.draw(st.booleans()):
            words.append(b"%d:%d" % (first, first + more))
        else:
            words += [b"%d" % uid for uid in range(first, first + more + 1)]
    lines = [b"* SEARCH"]
    for word in data.draw(st.permutations(words)):
        if data.draw(st.integers(0, 9)) == 0:
            lines.append(b"* SEARCH")
        separator = b" " if lines[-1] == b"* SEARCH" else data.draw(SEPARATORS)
        lines[-1] += separator + word
    assert list(found_uids(Response((line,)) for line in lines)) == uids

    # A byte that belongs to no set, anywhere behind the name, spoils all.
    at = data.draw(st.integers(8, len(lines[-1])))
    stray = data.draw(
        st.binary(min_size=1, max_size=3).filter(lambda each: not re.search(rb"[0-9\s,:]", each))
    )
    lines[-1] = lines[-1][:at] + stray + lines[-1][at:]
    with pytest.raises(ProtocolError):
        found_uids(Response((line,)) for line in lines)
