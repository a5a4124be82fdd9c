"""Mails whose reading has failed, while nothing proves yet that the mail and not its server is at fault."""

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from superimap.imap.errors import ImapError, LimitExceeded, Refused
from superimap.imap.types import MessageMeta

META_BATCH_MAILS = 100
"""Mails whose metadata is fetched at once, while nothing fails."""
BATCH_PARTS = 10
"""A batch that failed is fetched again in so many parts."""
MAX_FAST_FETCH_FAILURES = 3
"""Fast fetches that fail in a row, after which none is tried: not every server can send a part of a mail."""
QUICK_RECONNECTS = 10
"""Connects within QUICK_RECONNECT_SECONDS that start at once after a mail has ended the session."""
QUICK_RECONNECT_SECONDS = 60.0
MAX_BAD_CONTROLS = 3
"""Mails that could not be read as a proof, after which the server is at fault."""


class ReadFailure(NamedTuple):
    """Why a mail could not be read, and what is known of it.

    `announced_size` is the size in bytes of a literal that was announced and not read.
    """

    error: str
    meta: MessageMeta | None = None
    announced_size: int | None = None


class Suspects:
    """The mails that a session failed to read, of one numbering. It outlives connections.

    - A batch whose fetch failed is cut into smaller ones, until the mail at fault is known.
    - `last_read_at` is the time by the monotonic clock at which a mail was read last.
    """

    __slots__ = (
        "_bad_controls", "_batch", "_fast_fetch", "_has_progress", "_is_server_at_fault", "_mails", "_piece_size",
        "_reconnects", "_rooms", "last_read_at",
    )  # fmt: skip

    def __init__(self) -> None:
        self._mails: dict[int, ReadFailure] = {}
        self._rooms: dict[int, int] = {}  # bytes that a mail needs, beyond what its size says
        self._batch: set[int] = set()
        self._piece_size = META_BATCH_MAILS  # within the batch
        self._bad_controls: set[int] = set()
        self._fast_fetch = 0
        self._reconnects: deque[float] = deque(maxlen=QUICK_RECONNECTS)
        self._has_progress = False
        self._is_server_at_fault = False
        self.last_read_at = float("-inf")

    def __len__(self) -> int:
        return len(self._mails)

    def get(self, uid: int) -> ReadFailure | None:
        """Return why this mail could not be read; None if it has not failed."""
        return self._mails.get(uid)

    def add(
        self, uid: int, error: ImapError, meta: MessageMeta | None = None, *, max_room: int = 0
    ) -> ReadFailure:
        """Note that this mail could not be read.

        If it was announced as larger than expected, it is read again with so much room, `max_room` bytes at most.
        """
        announced = error.announced if isinstance(error, LimitExceeded) else None
        failed = ReadFailure(str(error) or type(error).__name__, meta, announced)
        self._has_progress = True
        if announced is not None and self._rooms.get(uid, 0) < announced <= max_room:
            self._rooms[uid] = announced
        else:
            self._mails[uid] = failed
        return failed

    def add_batch(self, uids: Iterable[int], error: ImapError) -> None:
        """Note that the metadata of these mails could not be fetched in one command."""
        batch = set(uids)
        self._has_progress = True
        if len(batch) == 1:
            self.add(next(iter(batch)), error)
        else:
            self._batch, self._piece_size = batch, max(1, len(batch) // BATCH_PARTS)

    def reserve(self, uid: int, size: int) -> None:
        """Note that at least `size` bytes are to be held when this mail is read."""
        if size:
            self._rooms[uid] = size

    def room_for(self, uid: int, size: int) -> int:
        """Return the bytes to hold for a mail of this size."""
        return max(size, self._rooms.get(uid, 0))

    def piece(self, uids: "deque[int]") -> list[int]:
        """Take from the left of `uids` the mails whose metadata to fetch in one command."""
        first = uids[0]
        is_cut, most = first in self._batch, META_BATCH_MAILS
        if first in self._mails:
            most = 1
        elif is_cut:
            most = self._piece_size
        taken: list[int] = []
        while uids and len(taken) < most:
            uid = uids[0]
            if taken and (uid in self._mails or (uid in self._batch) is not is_cut):
                break
            taken.append(uids.popleft())
        return taken

    def note_progress(self) -> None:
        """Note that the session found out what ends it, and does not repeat it on the next connection."""
        self._has_progress = True

    def record_read(self, uid: int) -> None:
        """Note that a mail was read: the server is well."""
        self.last_read_at = time.monotonic()
        self._is_server_at_fault = False
        self._mails.pop(uid, None)
        self._rooms.pop(uid, None)

    def forget(self, uid: int) -> None:
        """Drop a mail that is recorded."""
        self._mails.pop(uid, None)

    def clear(self, uid: int) -> None:
        """Note that the metadata of this mail was fetched: it has not spoiled its batch."""
        self._batch.discard(uid)

    def is_control(self, uid: int) -> bool:
        """Return whether this mail may be read to prove that the server is well."""
        return uid not in self._mails and uid not in self._batch and uid not in self._bad_controls

    def forget_bad_controls(self) -> bool:
        """Let all mails be read as a proof again; return whether some could not be read."""
        had_some = bool(self._bad_controls)
        self._bad_controls.clear()
        return had_some

    def add_bad_control(self, uid: int) -> bool:
        """Note that a mail could not be read as a proof; return whether the server is at fault."""
        self._bad_controls.add(uid)
        self._has_progress = True
        if len(self._bad_controls) % MAX_BAD_CONTROLS == 0:
            self.blame_server()
            return True
        return False

    def blame_server(self) -> None:
        """Note that no mail can be read: none of them is a suspect then."""
        self.forget_mails()
        self._is_server_at_fault = True

    def forget_mails(self) -> None:
        """Drop all mails: they are recorded, or the server is at fault, or their UIDs mean other mails now."""
        self._mails.clear()
        self._batch.clear()
        self._has_progress = False

    def begin_numbering(self) -> None:
        """Drop everything that is known of single mails."""
        self.forget_mails()
        self._rooms.clear()
        self._bad_controls.clear()

    def may_reconnect_at_once(self) -> bool:
        """Return whether to connect at once after a mail has ended the session, and count it if so.

        It is worthwhile if the session has found out more about which mail fails.
        """
        has_progress, self._has_progress = self._has_progress, False
        now = time.monotonic()
        is_often = (
            len(self._reconnects) == QUICK_RECONNECTS and now - self._reconnects[0] < QUICK_RECONNECT_SECONDS
        )
        if not has_progress or self._is_server_at_fault or is_often:
            return False
        self._reconnects.append(now)
        return True

    @property
    def is_fast_fetch_disabled(self) -> bool:
        """Whether new mails are to be searched for, because fast fetches keep failing."""
        return self._fast_fetch >= MAX_FAST_FETCH_FAILURES

    @contextlib.contextmanager
    def fast_fetch(self, uids: Iterable[int]) -> Iterator[None]:
        """Count whether the block fails. A plain refusal, after which the session is in step, is suppressed."""
        try:
            yield
        except Refused:
            self._fast_fetch += 1
        except ImapError as error:
            self._fast_fetch += 1
            self.add_batch(uids, error)
            raise
        else:
            self._fast_fetch = 0


class Pieces:
    """UIDs in pieces whose metadata is fetched in one command. They are not expanded all at once."""

    __slots__ = ("_ahead", "_rest", "_suspects")

    def __init__(self, uids: Iterable[int], suspects: Suspects) -> None:
        self._rest = iter(uids)
        self._ahead: deque[int] = deque()
        self._suspects = suspects

    def __iter__(self) -> Iterator[list[int]]:
        return self

    def __next__(self) -> list[int]:
        self._ahead.extend(islice(self._rest, max(0, META_BATCH_MAILS - len(self._ahead))))
        if not self._ahead:
            raise StopIteration
        return self._suspects.piece(self._ahead)

    def put_back(self, piece: list[int]) -> None:
        """Yield the mails of `piece` again, in smaller pieces if they were added as a failed batch."""
        self._ahead.extendleft(reversed(piece))
