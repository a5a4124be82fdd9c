"""Bodies that are empty or far shorter than announced: a server that fails to read a mail sends such ones."""

import hashlib

from superimap.idler.read_errors import Withheld

MAX_SHORT_SHARE = 0.5
"""A body of less than this part of RFC822.SIZE is doubtful. Estimates of servers are off by much less."""
MAX_CONFIRMED = 3
"""Short bodies in a row that a later look confirmed, after which the server's sizes are known to be wrong."""
_MAX_BODIES = 10_000


def is_doubtful(raw: bytes, size: int | None) -> bool:
    """Return whether `raw` may be less than the mail, whose RFC822.SIZE is `size`."""
    return not raw or (size is not None and len(raw) < MAX_SHORT_SHARE * size)


class DoubtfulBodies:
    """The doubtful bodies that were received, of one numbering. It outlives connections.

    A short body is the mail once a later look gives the same bytes. An empty one is so only if the size is 0, too.
    """

    __slots__ = ("_confirmed", "_seen")

    def __init__(self) -> None:
        self._seen: dict[int, bytes] = {}
        self._confirmed = 0

    def check(self, uid: int, raw: bytes, size: int | None) -> None:
        """Take note of a body. Raises Withheld if it is not to be taken for the mail yet."""
        earlier = self._seen.pop(uid, None)
        if not is_doubtful(raw, size):
            if earlier is not None:
                self._confirmed = 0
            return
        if raw and self._confirmed >= MAX_CONFIRMED:
            return
        digest = hashlib.sha256(raw).digest()
        if digest == earlier and (raw or size == 0):
            self._confirmed += bool(raw)
            return
        if len(self._seen) < _MAX_BODIES:
            self._seen[uid] = digest
        raise Withheld
