"""Doubtful bodies: what a server sends in place of a mail is not taken for it at once."""

import pytest

from superimap.idler.doubtful_bodies import MAX_CONFIRMED, DoubtfulBodies
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.read_errors import Withheld

MAIL = b"Subject: hello\r\n\r\n" + 100 * b"text "


def is_taken(bodies: DoubtfulBodies, raw: bytes, size: int | None, *, uid: int = 1) -> bool:
    try:
        bodies.check(uid, raw, size)
    except Withheld:
        return False
    return True


@pytest.mark.parametrize("looks", [
    [(b"", 500, False), (b"", 500, False), (b"", 500, False), (MAIL, 500, True)],  # never taken
    [(b"", None, False), (b"", None, False)],
    [(b"", 0, False), (b"", 0, True)],
    [(b"", 0, False), (MAIL, 0, True)],
    [(MAIL[:40], len(MAIL), False), (MAIL, len(MAIL), True)],
    [(MAIL[:40], len(MAIL), False), (MAIL[:40], len(MAIL), True)],
    [(MAIL[:40], len(MAIL), False), (MAIL[:80], len(MAIL), False), (MAIL[:80], len(MAIL), True)],
    [(MAIL, 2 * len(MAIL), True)],  # an estimate
    [(MAIL, 0, True)],
    [(MAIL, None, True)],
])  # fmt: skip
def test_an_empty_or_far_too_short_body_is_taken_once_a_later_look_gives_the_same(looks):
    bodies = DoubtfulBodies()

    assert [is_taken(bodies, raw, size) for raw, size, _ in looks] == [taken for *_, taken in looks]


def test_sizes_that_are_always_wrong_delay_a_few_mails_only():
    bodies = DoubtfulBodies()
    for uid in range(MAX_CONFIRMED):
        assert not is_taken(bodies, MAIL, 10**6, uid=uid)
        assert is_taken(bodies, MAIL, 10**6, uid=uid)

    assert is_taken(bodies, MAIL, 10**6, uid=100)
    assert not is_taken(bodies, b"", 10**6, uid=101)


def test_a_body_of_one_numbering_confirms_none_of_another():
    memory = MailboxMemory()
    memory.begin_numbering((1, 1))
    with pytest.raises(Withheld):
        memory.check_body(7, MAIL[:40], len(MAIL))

    memory.begin_numbering((1, 2))

    with pytest.raises(Withheld):
        memory.check_body(7, MAIL[:40], len(MAIL))
