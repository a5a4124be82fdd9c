"""Counts of read failures by mail. They survive connections, so that no mail can block its mailbox."""

import contextlib
import time
from collections.abc import Iterator

from superimap.domain.mails import GivenUp
from superimap.idler import server_pauses
from superimap.imap.errors import ImapError, LimitExceeded, OutOfSync, ProtocolError, Refused
from superimap.imap.types import MessageMeta

META_BATCH_MAILS = 100
"""Mails whose metadata is fetched at once, while nothing fails."""

# Errors in which the server's answer about a mail is at fault, rather than the connection.
_ANSWER_ERRORS = (ProtocolError, LimitExceeded, Refused)
# A mail is given up at this count: after three faulty answers, or after twelve connections that broke while it was
# read, which takes more than a quarter of an hour.
MAX_FAILURE_POINTS = 12
POINTS_PER_ANSWER = 4
POINTS_PER_BREAK = 1
BREAKS_PER_CUT = 3
"""Connections in a row that break while metadata is fetched, after which less is fetched at once."""
DEFERRAL_SECONDS = 2 * 24 * 3600.0
"""Seconds for which a server may defer a mail before the deferrals count.

It defers a mail by a temporary refusal ("unavailable", "throttled"), or by breaking off while metadata is fetched,
as happens to all mails in an outage. Gmail locks an account that reads too much for a day at most.
"""
MAX_FAST_FETCH_FAILURES = 3
"""Fast fetches that fail in a row, after which none is tried: not every server can send a part of a mail."""


class ReadFailures:
    """How often each mail has ended its session, and how many mails to request at once.

    All mails are of one numbering. `batch_size` is the number of mails whose metadata to fetch in one command.
    """

    __slots__ = ("_announced", "_breaks", "_deferred_since", "_fast_fetch", "_metas", "_points", "batch_size")

    def __init__(self) -> None:
        self._points: dict[int, int] = {}
        self._announced: dict[int, int] = {}  # sizes of literals that were too big to read
        self._metas: dict[int, MessageMeta] = {}
        self._deferred_since: dict[int, float] = {}
        self._breaks = 0
        self._fast_fetch = 0
        self.batch_size = META_BATCH_MAILS

    def record(self, uid: int, error: ImapError, meta: MessageMeta | None = None) -> None:
        """Count that this mail has ended its session. `meta` is its metadata, if it failed when it was read."""
        if meta is not None:
            self._metas[uid] = meta
        is_answer = _is_answer(error)
        is_deferral = server_pauses.is_temporary(error) or (meta is None and not is_answer)
        now = time.monotonic()
        if is_deferral and now - self._deferred_since.setdefault(uid, now) < DEFERRAL_SECONDS:
            return
        self._points[uid] = self._points.get(uid, 0) + (POINTS_PER_ANSWER if is_answer else POINTS_PER_BREAK)
        if isinstance(error, LimitExceeded) and error.announced is not None:
            self._announced[uid] = error.announced

    def record_batch(self, uids: list[int], error: ImapError) -> None:
        """Count that one of these mails has. Cut the next batches until it is known which one."""
        if len(uids) == 1:
            self.record(uids[0], error)
        elif not server_pauses.is_temporary(error):
            self._breaks += 1
            if _is_answer(error) or self._breaks % BREAKS_PER_CUT == 0:
                self.batch_size = max(1, min(self.batch_size, len(uids)) // 10)

    def given_up(self, uid: int) -> GivenUp | None:
        """Return why not to read this mail again; None if it is to be read."""
        if self._points.get(uid, 0) < MAX_FAILURE_POINTS:
            return None
        return GivenUp(self._announced.get(uid))

    def meta_of(self, uid: int) -> MessageMeta | None:
        """Return the metadata of a mail that could not be read, if it is known."""
        return self._metas.get(uid)

    @property
    def is_fast_fetch_disabled(self) -> bool:
        """Whether new mails are to be searched for, because fast fetches keep failing."""
        return self._fast_fetch >= MAX_FAST_FETCH_FAILURES

    @contextlib.contextmanager
    def fast_fetch(self) -> Iterator[None]:
        """Count whether the block fails. A plain refusal, after which the session is in step, is suppressed."""
        try:
            yield
        except Refused:
            self._fast_fetch += 1
        except ImapError:
            self._fast_fetch += 1
            raise
        else:
            self._fast_fetch = 0

    def forget_mails(self) -> None:
        """Drop the counts of all mails: they are recorded, or their UIDs mean other mails now."""
        for known in (self._points, self._announced, self._metas, self._deferred_since):
            known.clear()
        self._breaks = 0
        self.batch_size = META_BATCH_MAILS


def _is_answer(error: ImapError) -> bool:
    return isinstance(error, _ANSWER_ERRORS) and not isinstance(error, OutOfSync)
