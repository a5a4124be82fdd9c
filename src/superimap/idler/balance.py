"""Balance of shards between idlers: shards to take and shards to hand over. Each owner decides for its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from superimap.db.watching.ownership import Member
from superimap.domain.shards import SHARD_COUNT
from superimap.idler.rendezvous import owner_of, owners_of, scores

MAX_SHARE = 1.15
"""Part of its share of the shards beyond which an idler hands over. It receives shards only below a full share.

Nothing moves between the two limits, so that no shard that an idler receives makes it hand over another.
"""
NO_IDLER = 0
MAX_FILL_BY_RANK = 0.95
"""Part of its capacity up to which an idler receives shards because of its rank alone."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load of an owned shard: the users to watch, and how many of them have a session."""

    users: int
    sessions: int


@dataclass(frozen=True, slots=True)
class Move:
    """A hand-over of a shard to the idler `target`; NO_IDLER frees the shard.

    It does not happen if the target would have more than `max_users` or `max_shards` afterwards. `sessions` of its
    users end by it.
    """

    shard: int
    target: int
    users: int
    max_users: int
    max_shards: int
    sessions: int = 0


def shards_to_take(me: int, members: Sequence[Member], free: Iterable[int]) -> list[int]:
    """Return those of the `free` shards that the idler `me` is to take: it ranks first among those with room.

    If no idler has room, the one that ranks first takes a shard nevertheless: its users must be counted as not
    watched.
    """
    staying = [member for member in members if not member.is_stopping]
    most = MAX_SHARE * SHARD_COUNT / max(1, sum(member.capacity for member in staying))
    with_room = [member for member in staying if member.users < member.capacity]
    candidates = [each for each in with_room if each.shards < most * each.capacity] or with_room or staying
    return [shard for shard, owner in owners_of(free, candidates).items() if owner == me]


def hand_overs(me: int, members: Sequence[Member], mine: Mapping[int, Load]) -> Iterator[Move]:
    """Yield the shards that the idler `me` is to hand over, the most urgent first.

    1. An idler with more users than sessions sends whole shards to idlers with room, those without sessions first.
    2. A shard goes to the idler that ranks first for it, if that one is below its share.
    3. An idler with far more than its share of the shards sends some to idlers below theirs.

    No move makes its target do 1 or 3, and 2 only raises ranks. So the moves come to an end while users stay, and
    nothing moves in a settled cluster.
    """
    plan = _Plan(me, members, mine)
    if plan.others:
        yield from plan.shed_excess_users()
        yield from plan.raise_ranks()
        yield from plan.even_out()


def hand_overs_of_all(me: int, members: Sequence[Member], mine: Mapping[int, Load]) -> Iterator[Move]:
    """Yield a hand-over for every shard of `me`, to an idler with room; a shard that fits nowhere becomes free."""
    plan = _Plan(me, members, mine)
    for shard, load in sorted(mine.items()):
        move = plan.send(shard, plan.fits) if plan.others else None
        yield move or Move(shard, NO_IDLER, load.users, 0, 0, load.sessions)


class _Plan:
    """The members as they will be after the moves so far."""

    def __init__(self, me: int, members: Sequence[Member], mine: Mapping[int, Load]) -> None:
        staying = [member for member in members if not member.is_stopping]
        total = sum(member.capacity for member in staying)
        self._share = {member.id: SHARD_COUNT * member.capacity / total for member in staying}
        self._staying = staying
        self._me = next((member for member in members if member.id == me), None)
        self._left = dict(mine)
        self.others = {member.id: member for member in staying if member.id != me}

    def fits(self, member: Member, users: int) -> bool:
        """Return whether all these users would have a session there."""
        return member.users + users <= member.capacity

    def shed_excess_users(self) -> Iterator[Move]:
        """Yield moves while this idler has more users than it may have sessions."""
        assert self._me is not None  # noqa: S101 - `me` is a live member
        excess = sum(load.users for load in self._left.values()) - self._me.capacity
        if excess <= 0:
            return
        mine = self._mine()
        loads = self._left.items()
        for shard, load in sorted(loads, key=lambda item: (item[1].sessions, mine[item[0]])):
            if excess > 0 and load.users and (move := self.send(shard, self.fits)):
                excess -= load.users
                yield move

    def even_out(self) -> Iterator[Move]:
        """Yield moves while this idler has far more than its share of the shards."""
        assert self._me is not None  # noqa: S101
        most = math.ceil(MAX_SHARE * self._share.get(self._me.id, 0.0))
        if len(self._left) <= most:
            return
        for shard in sorted(self._left, key=self._mine().__getitem__):
            if len(self._left) <= most:
                return
            if move := self.send(shard, self._is_below_share):
                yield move

    def raise_ranks(self) -> Iterator[Move]:
        """Yield moves of shards for which another idler ranks first."""
        first = owners_of(self._left, self._staying)
        for shard in [shard for shard, owner in first.items() if owner in self.others]:
            if move := self.send(shard, self._is_below_share, only=first[shard]):
                yield move

    def send(
        self, shard: int, accepts: Callable[[Member, int], bool], *, only: int | None = None
    ) -> Move | None:
        """Return the move to the highest ranking idler that accepts the shard; None if no idler does."""
        users, sessions = self._left[shard].users, self._left[shard].sessions
        candidates = self.others.values() if only is None else [self.others[only]]
        target = owner_of(shard, [member for member in candidates if accepts(member, users)])
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
            max_users=int(MAX_FILL_BY_RANK * member.capacity) if is_by_share else member.capacity,
            max_shards=int(self._share[target]) if is_by_share else SHARD_COUNT,
            sessions=sessions,
        )

    def _is_below_share(self, member: Member, users: int) -> bool:
        within = not users or member.users + users <= int(MAX_FILL_BY_RANK * member.capacity)
        return within and member.shards + 1 <= int(self._share[member.id])

    def _mine(self) -> Sequence[float]:
        assert self._me is not None  # noqa: S101
        return scores(self._me.id, self._me.capacity)
