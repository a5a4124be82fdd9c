"""Owners of shards: every idler computes the same; a join takes its share, a leave gives only its own shards."""

import hashlib
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from superimap.domain.shards import SHARD_COUNT
from superimap.idler.rendezvous import owner_of, owners_of, ranks


@dataclass(frozen=True)
class Member:
    id: int
    capacity: int = 1000


members_of = st.lists(st.integers(1, 10_000), min_size=1, max_size=8, unique=True).map(
    lambda ids: [Member(each) for each in ids]
)


@given(members_of, st.randoms())
@settings(max_examples=20, deadline=None)
def test_the_order_of_members_does_not_matter(members, chance):
    shuffled = list(members)
    chance.shuffle(shuffled)

    assert [owner_of(s, members) for s in range(50)] == [owner_of(s, shuffled) for s in range(50)]


@given(members_of, st.integers(20_000, 30_000))
@settings(max_examples=10, deadline=None)
def test_a_joining_member_takes_shards_and_moves_nothing_else(members, newcomer):
    before = owners_of(range(SHARD_COUNT), members)
    after = owners_of(range(SHARD_COUNT), [*members, Member(newcomer)])

    assert all(after[shard] in (before[shard], newcomer) for shard in range(SHARD_COUNT))
    assert [*after.values()].count(newcomer) <= 1.25 * SHARD_COUNT / (len(members) + 1)


@given(members_of)
@settings(max_examples=10, deadline=None)
def test_only_the_shards_of_a_leaving_member_move(members):
    before = owners_of(range(SHARD_COUNT), members)
    after = owners_of(range(SHARD_COUNT), members[1:])

    assert all(after[shard] == before[shard] for shard in after if before[shard] != members[0].id)


@given(members_of)
@settings(max_examples=10, deadline=None)
def test_every_shard_has_an_owner(members):
    owners = owners_of(range(SHARD_COUNT), members)

    assert set(owners) == set(range(SHARD_COUNT))
    assert set(owners.values()) <= {member.id for member in members}


@given(
    st.lists(
        st.tuples(st.integers(1, 10**6), st.sampled_from([1000, 2000, 3000])),
        min_size=10,
        max_size=10,
        unique_by=lambda each: each[0],
    )
)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_ten_idlers_have_their_shares_by_capacity_within_15_percent(given_):
    members = [Member(*each) for each in given_]
    owned = [*owners_of(range(SHARD_COUNT), members).values()]
    total = sum(member.capacity for member in members)

    for member in members:
        fair = SHARD_COUNT * member.capacity / total
        assert abs(owned.count(member.id) - fair) <= 0.15 * fair + 5


def test_the_share_of_a_member_is_proportional_to_its_capacity():
    owned = [*owners_of(range(SHARD_COUNT), [Member(1, 1000), Member(2, 3000)]).values()]

    assert 0.23 < owned.count(1) / SHARD_COUNT < 0.27


def test_without_members_a_shard_has_no_owner():
    assert owner_of(1, []) is None


def test_owners_are_those_of_earlier_versions():
    """Idlers of two versions run together during an upgrade; they would move shards back and forth."""

    def digest(members: list[Member]) -> str:
        owners = owners_of(range(SHARD_COUNT), members)
        return hashlib.sha256(
            ",".join(str(owners[shard]) for shard in range(SHARD_COUNT)).encode()
        ).hexdigest()[:16]

    assert digest([Member(each) for each in range(1, 40)]) == "7fa1957c3b6fbb79"
    assert digest([Member(each, 1000 + 500 * (each % 3)) for each in range(1, 40)]) == "2050b31e3be6176a"


def test_members_beyond_a_thousand_are_computed_once_and_kept_small():
    members = [Member(each) for each in range(1, 1101)]
    owners_of([1], members)
    computed = ranks.cache_info().misses

    owners_of([1, 2, 3], members)

    assert ranks.cache_info().misses == computed
    assert ranks(1).itemsize * len(ranks(1)) == 2 * SHARD_COUNT
