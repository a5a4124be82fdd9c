"""Whose a shard is: all compute the same; who joins takes its share, who leaves gives only its own."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from superimap.idler.rendezvous import choose, share

SHARDS = 1024


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

    assert [choose(s, members) for s in range(50)] == [choose(s, shuffled) for s in range(50)]


@given(members_of, st.integers(20_000, 30_000))
@settings(max_examples=10, deadline=None)
def test_who_joins_takes_from_others_and_moves_nothing_else(members, newcomer):
    before = {shard: choose(shard, members) for shard in range(SHARDS)}
    after = {shard: choose(shard, [*members, Member(newcomer)]) for shard in range(SHARDS)}

    assert all(after[shard] in (before[shard], newcomer) for shard in range(SHARDS))


@given(members_of)
@settings(max_examples=10, deadline=None)
def test_every_shard_is_somebodys_and_nobodys_twice(members):
    shares = [share(member.id, members, SHARDS) for member in members]

    assert sorted(shard for each in shares for shard in each) == list(range(SHARDS))


def test_capacity_is_weight():
    members = [Member(1, 1000), Member(2, 3000)]

    assert 0.20 < len(share(1, members, 4096)) / 4096 < 0.30


def test_nobody_alive_owns_nothing():
    assert choose(1, []) is None
