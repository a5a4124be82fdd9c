"""Slots of a process, limited per group. Pure bookkeeping."""

from collections import defaultdict


class Slots:
    """Endpoints that hold a slot, by group, and endpoints that wait for one, first come, first served.

    A group is a partner, or all unhealthy endpoints together.
    """

    def __init__(self, *, per_group: int) -> None:
        """`per_group` is the maximum number of slots that one group holds."""
        self._per_group = per_group
        self._holders: dict[int, int] = {}  # endpoint to group
        self._count: defaultdict[int, int] = defaultdict(int)
        self._waiting: dict[int, dict[int | None, None]] = {}

    def take(self, group: int, endpoint: int) -> bool:
        """Whether the endpoint holds a slot now; if not, it waits for one."""
        if endpoint in self._holders:
            return True
        if self._count[group] >= self._per_group:
            self._waiting.setdefault(group, {})[endpoint] = None
            return False
        self._waiting.get(group, {}).pop(endpoint, None)
        self._holders[endpoint] = group
        self._count[group] += 1
        return True

    def release(self, endpoint: int) -> int | None:
        """Free the endpoint's slot, and return the endpoint of the same group that has waited longest.

        That endpoint no longer waits, and does not hold the slot yet. None if no endpoint waits, or if this one
        held no slot.
        """
        group = self._holders.pop(endpoint, None)
        if group is None:
            return None
        self._count[group] -= 1
        if not self._count[group]:
            del self._count[group]  # so that groups without endpoints take no memory
        queue = self._waiting.get(group, {})
        following = next(iter(queue), None)
        queue.pop(following, None)
        if not queue:
            self._waiting.pop(group, None)
        return following
