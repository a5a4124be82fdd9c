"""Whose turn is it? The seats of a process, of which no partner has more than its share. Pure bookkeeping."""

from collections import defaultdict


class Slots:
    """Endpoints that have a seat, by partner, and those that wait for one, first come, first served."""

    def __init__(self, *, share: int) -> None:
        """`share` is the most that one partner has."""
        self._share = share
        self._taken: dict[int, int] = {}  # endpoint to partner
        self._count: defaultdict[int, int] = defaultdict(int)
        self._waiting: dict[int, dict[int | None, None]] = {}

    def take(self, partner: int, endpoint: int) -> bool:
        """Whether the endpoint has a seat now; if not, it waits."""
        if endpoint in self._taken:
            return True
        if self._count[partner] >= self._share:
            self._waiting.setdefault(partner, {})[endpoint] = None
            return False
        self._waiting.get(partner, {}).pop(endpoint, None)
        self._taken[endpoint] = partner
        self._count[partner] += 1
        return True

    def give_up(self, endpoint: int) -> int | None:
        """Leave a seat; the endpoint of the same partner that has waited longest, and waits no more."""
        partner = self._taken.pop(endpoint, None)
        if partner is None:
            return None
        self._count[partner] -= 1
        if not self._count[partner]:
            del self._count[partner]  # so that partners long gone are forgotten
        queue = self._waiting.get(partner, {})
        heir = next(iter(queue), None)
        queue.pop(heir, None)
        if not queue:
            self._waiting.pop(partner, None)
        return heir
