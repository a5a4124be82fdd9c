"""Balance of shards: all are owned, all users that fit have sessions, and the cluster settles."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superimap.db.watching.ownership import Member
from superimap.domain.shards import SHARD_COUNT
from superimap.idler import balance
from superimap.idler.balance import Load, Move

SLICE_USERS = 400


@dataclass
class Cluster:
    """Idlers that carry out, one after another in any order, the moves of `balance` for which room is reserved."""

    users: list[int]
    chance: random.Random
    members: dict[int, Member] = field(default_factory=dict)
    held: dict[int, set[int]] = field(default_factory=dict)
    free: set[int] = field(default_factory=lambda: set(range(SHARD_COUNT)))

    def join(self, idler: int, capacity: int) -> None:
        self.members[idler] = Member(idler, capacity, users=0, shards=0, is_stopping=False)
        self.held[idler] = set()

    def kill(self, idler: int) -> None:
        del self.members[idler]
        self.free |= self.held.pop(idler)

    def loads(self, idler: int) -> dict[int, Load]:
        """The load of each shard; the first shards get the sessions."""
        room = self.members[idler].capacity
        found = {}
        for shard in sorted(self.held[idler]):
            served = min(room, self.users[shard])
            room -= served
            found[shard] = Load(self.users[shard], served)
        return found

    def heartbeat(self, idler: int) -> None:
        users = sum(self.users[shard] for shard in self.held[idler])
        self.members[idler] = replace(self.members[idler], users=users, shards=len(self.held[idler]))

    def round(self, idler: int) -> int:
        """Do one round of an idler; return how many shards changed owners."""
        view = list(self.members.values())
        taken = balance.shards_to_take(idler, view, self.free)
        self.free.difference_update(taken)
        self.held[idler].update(taken)
        handed = 0
        for move in balance.hand_overs(idler, view, self.loads(idler)):
            handed += self.hand(idler, move)
            if handed >= SLICE_USERS:
                break
        if taken or handed or self.chance.random() < 0.5:
            self.heartbeat(idler)
        return len(taken) + handed

    def hand(self, idler: int, move: Move) -> int:
        target = self.members[move.target]
        if (move.users and target.users + move.users > move.max_users) or target.shards >= move.max_shards:
            return 0
        self.members[move.target] = replace(target, users=target.users + move.users, shards=target.shards + 1)
        self.held[idler].discard(move.shard)
        self.held[move.target].add(move.shard)
        return 1

    def settle(self, *, within: int = 60) -> int:
        """Do rounds until one moves nothing; return how many shards moved. Fail if the cluster does not settle."""
        moved = 0
        for _ in range(within):
            order = self.chance.sample(list(self.members), len(self.members))
            now = sum([self.round(idler) for idler in order])
            for idler in order:
                self.heartbeat(idler)
            moved += now
            if not now and not sum([self.round(idler) for idler in order]):
                return moved
        raise AssertionError("shards still move")

    @property
    def unserved(self) -> int:
        return sum(
            load.users - load.sessions for idler in self.members for load in self.loads(idler).values()
        )

    def count_shards(self, idler: int) -> int:
        return len(self.held[idler])

    @property
    def owners(self) -> dict[int, int]:
        return {shard: idler for idler, shards in self.held.items() for shard in shards}


def users(chance: random.Random, total: int) -> list[int]:
    counts = [0] * SHARD_COUNT
    for _ in range(total):
        counts[chance.randrange(SHARD_COUNT)] += 1
    return counts


capacities = st.lists(st.integers(1, 400), min_size=1, max_size=6)


@given(capacities, st.integers(0, 1200), st.integers(0, 5), st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_the_cluster_settles_with_every_shard_owned_after_joins_deaths_and_growth(given_, total, big, seed):
    chance = random.Random(seed)
    cluster = Cluster(users(chance, total), chance)
    for _ in range(big):  # shards larger than most idlers
        cluster.users[chance.randrange(SHARD_COUNT)] = 300
    for idler, capacity in enumerate(given_, 1):
        cluster.join(idler, capacity)
    cluster.settle()
    cluster.join(50, 200)
    cluster.settle()
    for _ in range(200):
        cluster.users[chance.randrange(SHARD_COUNT)] += 1
    cluster.settle()
    cluster.kill(chance.choice(list(cluster.members)))
    cluster.settle()

    assert not cluster.free
    # A user without a session would find none elsewhere: no whole shard with users would fit.
    for idler in cluster.members:
        loads, mine = cluster.loads(idler), cluster.members[idler]
        if mine.users > mine.capacity:
            least = min(load.users for load in loads.values() if load.users)
            others = [each for each in cluster.members.values() if each.id != idler]
            assert all(each.users + least > each.capacity for each in others)


def test_excess_users_move_to_idlers_with_room_and_an_empty_idler_relieves_all():
    chance = random.Random(7)
    cluster = Cluster(users(chance, 2600), chance)
    for idler in (1, 2, 3):
        cluster.join(idler, 800)
    cluster.settle()
    assert cluster.unserved == 200, "all 2,400 slots are taken, and the rest is counted"

    cluster.join(4, 800)
    cluster.settle()

    assert cluster.unserved == 0


def test_a_shard_larger_than_its_idler_fills_it_and_the_other_users_are_counted():
    chance = random.Random(7)
    cluster = Cluster([0] * SHARD_COUNT, chance)
    cluster.users[5] = 15
    cluster.users[6] = 3
    cluster.join(1, 10)
    cluster.join(2, 10)

    cluster.settle()

    assert cluster.unserved == 5
    assert cluster.owners[5] != cluster.owners[6]


def test_a_user_added_and_removed_at_the_limit_moves_no_shard():
    chance = random.Random(7)
    cluster = Cluster(users(chance, 1000), chance)
    cluster.join(1, 500)
    cluster.join(2, 520)
    cluster.settle()
    shard = min(cluster.held[1])
    moved = []
    for step in range(20):
        cluster.users[shard] += 1 if step % 2 == 0 else -1
        for idler in cluster.members:
            cluster.heartbeat(idler)
        moved.append(cluster.settle())

    assert sum(moved[2:]) == 0, moved


@pytest.mark.parametrize("count", [2, 10, 40])
def test_a_joining_idler_gets_at_most_its_share_and_nothing_else_moves(count):
    chance = random.Random(count)
    cluster = Cluster([10] * SHARD_COUNT, chance)
    for idler in range(1, count + 1):
        cluster.join(idler, 60_000)
    cluster.settle()
    before = cluster.owners
    cluster.join(1000, 60_000)
    cluster.settle()

    after = cluster.owners
    moved = [shard for shard in range(SHARD_COUNT) if after[shard] != before[shard]]
    assert 0.8 <= cluster.count_shards(1000) / (SHARD_COUNT / (count + 1)) <= 1.1
    assert len(moved) <= 1.1 * SHARD_COUNT / (count + 1) + 1


@pytest.mark.parametrize("count", [2, 10, 40])
def test_after_a_death_few_shards_move_except_those_of_the_dead_idler(count):
    chance = random.Random(count)
    cluster = Cluster([10] * SHARD_COUNT, chance)
    for idler in range(1, count + 1):
        cluster.join(idler, 60_000)
    cluster.settle()
    before = cluster.owners
    cluster.kill(1)
    cluster.settle()

    after = cluster.owners
    elsewhere = [s for s in range(SHARD_COUNT) if before[s] != 1 and after[s] != before[s]]
    assert len(elsewhere) <= 0.1 * SHARD_COUNT / count


@pytest.mark.parametrize("count", [3, 10, 40])
def test_no_idler_keeps_far_more_than_its_share(count):
    chance = random.Random(count)
    cluster = Cluster([10] * SHARD_COUNT, chance)
    for idler in range(1, count + 1):
        cluster.join(idler, chance.choice([30_000, 60_000]))
    cluster.settle()

    total = sum(member.capacity for member in cluster.members.values())
    for idler, member in cluster.members.items():
        assert cluster.count_shards(idler) <= 1.15 * SHARD_COUNT * member.capacity / total + 1
