"""Which shards should an idler take, which hand over, and to whom? Each owner decides for its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from superimap.db.watching.ownership import Member
from superimap.domain.shards import SHARD_COUNT
from superimap.idler.rendezvous import choose, firsts, scores

# Nobody is sent what would make it hand over in its turn: between these nothing moves, so nothing goes to and fro.
MOST = 1.15  # of its share of the shards, beyond which an idler hands over; it is sent some below 1
NOBODY = 0
FILLED = 0.95  # of its capacity, up to which an idler is sent shards for no other reason than rank


@dataclass(frozen=True, slots=True)
class Load:
    """A shard of mine: users who should be watched, and how many of them have a session."""

    users: int
    seated: int


@dataclass(frozen=True, slots=True)
class Move:
    """A shard that another should have (NOBODY: it should be free), unless that one has more than this after."""

    shard: int
    target: int
    users: int
    most_users: int
    most_shards: int


def takes(me: int, members: Sequence[Member], free: Iterable[int]) -> list[int]:
    """Those of the `free` shards that are mine to take: I rank first among those with room.

    Where nobody has room whoever ranks first takes it all the same: somebody must count who is not watched.
    """
    staying = [member for member in members if not member.is_stopping]
    most = MOST * SHARD_COUNT / max(1, sum(member.capacity for member in staying))
    with_room = [member for member in staying if member.users < member.capacity]
    candidates = [each for each in with_room if each.shards < most * each.capacity] or with_room or staying
    return [shard for shard, owner in firsts(free, candidates).items() if owner == me]


def moves(me: int, members: Sequence[Member], mine: Mapping[int, Load]) -> Iterator[Move]:
    """What I should hand over, the most urgent first. It ends: nothing moves in a cluster that has settled.

    First, who cannot seat all its users sends whole shards to whom they fit, those without sessions first. Then
    a shard goes to who ranks first for it, if that one is below its share. Last, who has far more than its share
    of the shards sends some to those below theirs. No move makes its target do the first or the last, and the
    second only raises ranks: so with users who stay, there is a last move.
    """
    plan = _Plan(me, members, mine)
    if plan.others:
        yield from plan.seat()
        yield from plan.raise_ranks()
        yield from plan.even_out()


def leaving(me: int, members: Sequence[Member], mine: Mapping[int, Load]) -> Iterator[Move]:
    """Where everything of mine should go: to whom it fits; what fits nowhere becomes free."""
    plan = _Plan(me, members, mine)
    for shard, load in sorted(mine.items()):
        yield plan.send(shard, plan.fits) or Move(shard, NOBODY, load.users, 0, 0)


class _Plan:
    """The members as they will be once the moves so far are done."""

    def __init__(self, me: int, members: Sequence[Member], mine: Mapping[int, Load]) -> None:
        staying = [member for member in members if not member.is_stopping]
        total = sum(member.capacity for member in staying)
        self._share = {member.id: SHARD_COUNT * member.capacity / total for member in staying}
        self._staying = staying
        self._me = next((member for member in members if member.id == me), None)
        self._left = dict(mine)
        self.others = {member.id: member for member in staying if member.id != me}

    def fits(self, member: Member, users: int) -> bool:
        """Whether all of them would have a session there."""
        return member.users + users <= member.capacity

    def seat(self) -> Iterator[Move]:
        """While I have more users than sessions may be."""
        assert self._me is not None  # noqa: S101 - of a living idler
        excess = sum(load.users for load in self._left.values()) - self._me.capacity
        if excess <= 0:
            return
        mine = self._mine()
        loads = self._left.items()
        for shard, load in sorted(loads, key=lambda item: (item[1].seated, mine[item[0]])):
            if excess > 0 and load.users and (move := self.send(shard, self.fits)):
                excess -= load.users
                yield move

    def even_out(self) -> Iterator[Move]:
        """While I have far more than my share."""
        assert self._me is not None  # noqa: S101
        most = math.ceil(MOST * self._share.get(self._me.id, 0.0))
        if len(self._left) <= most:
            return
        for shard in sorted(self._left, key=self._mine().__getitem__):
            if len(self._left) <= most:
                return
            if move := self.send(shard, self._is_below_share):
                yield move

    def raise_ranks(self) -> Iterator[Move]:
        """What another ranks first for."""
        first = firsts(self._left, self._staying)
        for shard in [shard for shard, owner in first.items() if owner in self.others]:
            if move := self.send(shard, self._is_below_share, only=first[shard]):
                yield move

    def send(
        self, shard: int, accepts: Callable[[Member, int], bool], *, only: int | None = None
    ) -> Move | None:
        """The move to the highest ranking of those who accept it; None if nobody does."""
        users = self._left[shard].users
        candidates = self.others.values() if only is None else [self.others[only]]
        target = choose(shard, [member for member in candidates if accepts(member, users)])
        if target is None:
            return None
        member = self.others[target]
        self.others[target] = replace(member, users=member.users + users, shards=member.shards + 1)
        del self._left[shard]
        is_by_share = accepts == self._is_below_share
        return Move(
            shard,
            target,
            users,
            most_users=int(FILLED * member.capacity) if is_by_share else member.capacity,
            most_shards=int(self._share[target]) if is_by_share else SHARD_COUNT,
        )

    def _is_below_share(self, member: Member, users: int) -> bool:
        within = not users or member.users + users <= int(FILLED * member.capacity)
        return within and member.shards + 1 <= int(self._share[member.id])

    def _mine(self) -> Sequence[float]:
        assert self._me is not None  # noqa: S101
        return scores(self._me.id, self._me.capacity)
