"""State of one endpoint's lane, and the protocol by which no wake-up is lost.

A lane has a mark, `is_rung`: something may be due that no claim has looked for. The protocol:
1. A doorbell is rung after the delivery was committed. It sets the mark, and starts the lane if it does not run.
2. A running lane removes the mark only right before a claim, with no await in between.
3. A lane without work ends only while the mark is not set, with no await between that check and its end.
4. A lane that yields may leave the mark set: then the next of its POSTs to end starts it again. So it does for a
   ring that finds the lane yielded with all the POSTs that it may have.
5. A lane whose budget is spent while the mark is set rings its own doorbell.

No wake-up is lost within a process: either the ring comes before the lane removes the mark, and the claim that
follows sees the delivery, because it was committed before the ring; or the ring comes later, and sets the mark
again. In the second case the lane is still running and claims again, or it has ended and the ring starts it.

Across processes: a claim that finds no room, because POSTs of other processes fill the endpoint's concurrency
limit, may end its lane although the claim has set the mark. The process that took the last of the room keeps its
own mark, and claims again when a POST ends. But a lane that was rung during the claim claims again itself: after
the claim had looked, the other process may have found nothing and ended, or have spent its budget and rung.

What is missed nevertheless, the sweeper finds within a second: the deliveries of a process that dies, and of an
endpoint that waits for a slot which was offered to another endpoint that no longer needs it.
"""

from __future__ import annotations

import asyncio


class Lane:
    """The work on one endpoint: a task while there may be something to claim, and the POSTs in flight."""

    def __init__(self, endpoint_id: int) -> None:
        self.endpoint_id = endpoint_id
        self.is_rung = True
        self.posts = 0
        self.has_unhealthy_slot = False
        self.task: asyncio.Task[None] | None = None  # None: the lane has yielded or ended
        self._wake = asyncio.Event()  # the lane was rung, or one of its POSTs has ended

    @property
    def is_unused(self) -> bool:
        """Whether the lane neither runs nor has a POST in flight, so that its slots are free."""
        return self.task is None and not self.posts

    def ring(self) -> None:
        """Set the mark: a delivery may have become due."""
        self.is_rung = True
        self._wake.set()

    def set_mark(self, is_rung: bool) -> None:
        """Set the mark after a claim: whether something may be due that no claim has looked for."""
        self.is_rung = is_rung

    def remove_mark(self) -> None:
        """Remove the mark. Must be followed by a claim, with no await in between."""
        self.is_rung = False

    def started(self, task: asyncio.Task[None]) -> None:
        """The lane runs as this task."""
        self.task = task

    def ended(self) -> None:
        """The lane's task has ended."""
        self.task = None

    def post_started(self) -> None:
        """Count one POST more in flight."""
        self.posts += 1

    def post_ended(self) -> None:
        """Count one POST less in flight."""
        self.posts -= 1

    def set_unhealthy_slot(self, is_held: bool) -> None:
        """Whether the endpoint holds one of the slots for unhealthy endpoints."""
        self.has_unhealthy_slot = is_held

    def wake(self) -> None:
        """End a wait of the lane's task."""
        self._wake.set()

    def clear_wake(self) -> None:
        """Forget earlier wake-ups: the lane is about to look."""
        self._wake.clear()

    async def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for a wake-up; return whether there was one."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        return self._wake.is_set()
