"""The places of users in vouches, and the intervals that PostgreSQL has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from superimap.idler.voucher import CHECK_TURNS, SLOTS_STEP, Voucher

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_bit_is_set_for_each_user_and_places_are_kept():
    voucher = Voucher(turns=3)

    assert voucher.bits([7]) == b"\x80" + bytes(SLOTS_STEP // 8 - 1)
    assert voucher.bits([9, 8, 7])[:1] == b"\xe0"
    assert voucher.bits([8])[:1] == b"\x20"
    assert [voucher.slot(user) for user in (7, 9, 8, 6)] == [0, 1, 2, 3]
    assert voucher.bits(range(100, 100 + SLOTS_STEP))[4 : SLOTS_STEP // 8] == b"\xff" * (SLOTS_STEP // 8 - 4)
    assert len(voucher.bits([])) == 2 * SLOTS_STEP // 8
    assert voucher.bits([100 + SLOTS_STEP - 1])[SLOTS_STEP // 8 :] == b"\x10" + bytes(SLOTS_STEP // 8 - 1)


def test_users_leave_with_the_interval_that_is_replaced_unless_there_is_a_later_one():
    voucher = Voucher(turns=3)
    for number, users in enumerate([{1, 2, 3}, {2}, set()]):
        assert voucher.turn == number
        assert voucher.leaving(users) is None
        voucher.add(BEGAN + timedelta(minutes=number), users)

    assert voucher.turn == 0
    leaving = voucher.leaving({3})
    assert leaving is not None
    assert (leaving.since, leaving.users) == (BEGAN, {1})
    voucher.add(BEGAN + timedelta(minutes=3), {3})
    leaving = voucher.leaving(set())
    assert leaving is not None
    assert (leaving.since, leaving.users) == (BEGAN + timedelta(minutes=1), {2})


def test_all_trusted_users_are_checked_in_turns():
    voucher = Voucher(turns=3)
    voucher.trusted |= set(range(95))

    checked = [voucher.next_to_check(1000) for _ in range(CHECK_TURNS)]

    assert sorted(user for users in checked for user in users) == list(range(95))
    assert max(map(len, checked)) == 10
    assert len(voucher.next_to_check(3)) == 3


def test_a_voucher_is_worn_when_most_places_are_unused():
    voucher = Voucher(turns=3)
    for user in range(SLOTS_STEP + 200):
        voucher.slot(user)

    assert voucher.is_worn(sessions=99)
    assert not voucher.is_worn(sessions=100)


def test_vouchers_have_different_names_that_fit_a_bigint():
    names = {Voucher(turns=3).id for _ in range(100)}

    assert len(names) == 100
    assert all(0 <= name < 2**63 for name in names)
