"""Slots of the endpoints of this process, by partner and for unhealthy endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from superimap.dispatcher.lanes.limits import LaneLimits
from superimap.dispatcher.lanes.slots import Slots

MAX_REMEMBERED_ENDPOINTS = 100_000
_ALL_UNHEALTHY = 0  # the one group of the slots for unhealthy endpoints


class Admission:
    """Which endpoints hold a slot, and what is remembered of endpoints: their partner, and whether they answer.

    `partner_of` returns the partner of an endpoint, or None if the endpoint no longer exists.
    """

    def __init__(self, partner_of: Callable[[int], Awaitable[int | None]], limits: LaneLimits) -> None:
        self._partner_of = partner_of
        self._slots = Slots(per_group=limits.partner_slots)
        self._unhealthy_slots = Slots(per_group=limits.unhealthy_slots)
        self._partners: dict[int, int] = {}
        self._answering: set[int] = set()  # endpoints that answered their last POST

    async def take(self, endpoint_id: int) -> bool:
        """Whether the endpoint holds a slot of its partner now; if not, it waits for one.

        False, without waiting, if the endpoint no longer exists: its deliveries do not exist either.
        """
        partner = self._partners.get(endpoint_id) or await self._partner_of(endpoint_id)
        if partner is None:
            return False
        if len(self._partners) >= MAX_REMEMBERED_ENDPOINTS:
            self._partners.clear()
            self._answering.clear()
        self._partners[endpoint_id] = partner
        return self._slots.take(partner, endpoint_id)

    def take_unhealthy(self, endpoint_id: int) -> bool:
        """Whether the endpoint holds a slot for unhealthy endpoints now; if not, it waits for one."""
        return self._unhealthy_slots.take(_ALL_UNHEALTHY, endpoint_id)

    def release(self, endpoint_id: int) -> int | None:
        """Free the slot of the endpoint's partner; the endpoint that is next, or None."""
        return self._slots.release(endpoint_id)

    def release_unhealthy(self, endpoint_id: int) -> int | None:
        """Free the endpoint's slot for unhealthy endpoints; the endpoint that is next, or None."""
        return self._unhealthy_slots.release(endpoint_id)

    def is_answering(self, endpoint_id: int) -> bool:
        """Whether the endpoint answered its last POST from this process."""
        return endpoint_id in self._answering

    def record_answer(self, endpoint_id: int, *, has_answered: bool) -> None:
        """Remember whether the endpoint answered a POST."""
        if has_answered:
            self._answering.add(endpoint_id)
        else:
            self._answering.discard(endpoint_id)
