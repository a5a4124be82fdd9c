"""A search result stays a set of ranges, within one budget over all responses of a command."""

import tracemalloc
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.idler.suspects import Pieces, Suspects
from superimap.imap import uid_ranges
from superimap.imap.errors import LimitExceeded
from superimap.imap.response import Response
from superimap.imap.search_answers import SearchAnswer, found_uids
from superimap.imap.statuses import UID_MAX
from superimap.imap.uid_ranges import UidRanges


def search(*lines: bytes) -> UidRanges:
    return found_uids(Response((line,)) for line in lines)


def test_a_claim_of_all_uids_takes_no_memory_and_is_walked_lazily():
    tracemalloc.start()
    found = search(*[b"* ESEARCH UID ALL 1:9223372036854775807"] * 8)
    (_, peak), _ = tracemalloc.get_traced_memory(), tracemalloc.stop()

    assert peak < 64 * 1024
    assert (len(found), found.first, found.last) == (UID_MAX, 1, UID_MAX)
    assert next(islice(Pieces(found, Suspects()), 2, None)) == list(range(201, 301))


@pytest.mark.parametrize(
    ("lines", "uids"),
    [
        ([b"* SEARCH"], []),
        ([b"* SEARCH 5"], [5]),
        ([b"* SEARCH 1 2 3", b"* SEARCH 4 9"], [1, 2, 3, 4, 9]),
        ([b"* SEARCH 9 4 3 2 1"], [1, 2, 3, 4, 9]),
        ([b"* SEARCH 5 5 4 5"], [4, 5]),
        ([b'* ESEARCH (TAG "A") UID ALL 5:3,1,9:9'], [1, 3, 4, 5, 9]),
        ([b"* ESEARCH UID MIN 1 ALL 1:3 COUNT 3"], [1, 2, 3]),
        ([b"* ESEARCH UID ALL 1:10", b"* ESEARCH UID ALL 4:5"], list(range(1, 11))),
    ],
)
def test_uids_are_ascending_and_each_appears_once(lines, uids):
    assert list(search(*lines)) == uids


def test_uids_that_cannot_be_recorded_are_counted_and_the_others_found():
    answer = SearchAnswer()
    for line in (b"* SEARCH 7 99999999999999999999999", b"* ESEARCH UID ALL 9:99999999999999999999999"):
        for _ in answer.read(Response((line,))):
            pass

    found = answer.result()
    assert (found.first, found.last, answer.unusable) == (7, UID_MAX, 2)


def test_the_search_result_of_a_mailbox_of_half_a_million_mails_is_found():
    uids = range(10_000_001, 11_000_001, 2)
    line = b"* SEARCH " + b" ".join(b"%d" % uid for uid in uids)

    found = search(line)

    assert (len(found), found.first, found.last) == (500_000, uids[0], uids[-1])
    assert found.weight < 2 * len(line)


def test_all_responses_of_a_command_share_one_budget(monkeypatch):
    monkeypatch.setattr(uid_ranges, "MAX_RANGES", 1000)
    line = b"* SEARCH " + b" ".join(b"%d" % uid for uid in range(1, 1200, 2))
    more = b"* ESEARCH UID ALL " + b",".join(b"%d" % uid for uid in range(2001, 3200, 2))

    assert len(search(line)) == len(search(more)) == 600
    with pytest.raises(LimitExceeded):
        search(line, more)


def test_only_a_moderate_number_of_ranges_may_be_out_of_order(monkeypatch):
    monkeypatch.setattr(uid_ranges, "_MAX_UNSORTED_RANGES", 100)
    line = b"* SEARCH " + b" ".join(b"%d" % uid for uid in range(1, 302, 3))

    assert len(search(line)) == 101
    with pytest.raises(LimitExceeded):
        search(line, b"* SEARCH 2000 1000")


@given(st.lists(st.integers(1, 60)), st.integers(0, 70))
def test_ranges_behave_like_a_sorted_set(uids, uid):
    ranges = search(*(b"* SEARCH " + b"%d" % each for each in uids))

    assert list(ranges) == sorted(set(uids))
    assert ranges == UidRanges(uids) == set(uids)
    assert list(ranges.above(uid)) == sorted(each for each in set(uids) if each > uid)
    assert (uid in ranges) == (uid in uids)
    assert len(ranges) == len(set(uids))
