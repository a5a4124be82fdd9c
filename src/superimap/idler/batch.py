"""Batch of rows to record in one statement, and the room in memory that their mails hold."""

from collections.abc import Sequence
from dataclasses import replace

from superimap.db.watching.intake import MailRow
from superimap.domain import intake
from superimap.domain.mail_stages import Sighting
from superimap.idler.limits import HostByteLimit
from superimap.idler.mailbox_memory import RecordedMail
from superimap.idler.rooms import SessionRoom

MAX_BATCH_MAILS = 100
MAX_BATCH_BYTES = 4 * 1024 * 1024


class MailBatch:
    """Rows that are not recorded yet. Their mails occupy room in the byte limit of the host until `clear`.

    `known` are the mails as later connections recognise them.
    """

    __slots__ = ("_bytes", "_gaps", "_held_bytes", "_known", "_room", "_rows", "_sightings")

    def __init__(self, room: HostByteLimit | SessionRoom) -> None:
        self._room = room
        self._rows: list[MailRow] = []
        self._sightings: list[Sighting | None] = []
        self._known: list[RecordedMail] | None = None
        self._bytes = 0
        self._held_bytes = 0
        self._gaps = 0  # UIDs without a mail for which the last row stands

    @property
    def rows(self) -> Sequence[MailRow]:
        """The rows, in the order of their UIDs."""
        return self._rows

    @property
    def sightings(self) -> Sequence[Sighting | None]:
        """When each of the mails was found, in the order of the rows."""
        return self._sightings

    @property
    def known(self) -> Sequence[RecordedMail]:
        """The mails that were added with their identity."""
        return self._known or ()

    @property
    def is_full(self) -> bool:
        """Whether the batch is large enough to be recorded."""
        if self._gaps >= intake.MAX_GAP_UIDS:
            return True
        return len(self._rows) >= MAX_BATCH_MAILS or self._bytes >= MAX_BATCH_BYTES

    def has_room(self, size: int) -> bool:
        """Return whether `size` more bytes may be held at once."""
        return self._room.has_room(size)

    async def acquire(self, size: int) -> None:
        """Wait until `size` more bytes may be held."""
        self._held_bytes += await self._room.acquire(size)

    def add(
        self,
        row: MailRow,
        sighting: Sighting | None,
        known: RecordedMail | None,
        *,
        read_bytes: int,
        is_gap: bool,
    ) -> None:
        """Add a row. One row stands for a run of gaps: UIDs whose mails are gone."""
        if known is not None:
            self._known = self._known or []
            self._known.append(known)
        self._bytes += read_bytes
        if is_gap and self._gaps:
            first = self._rows.pop()
            sighting = self._sightings.pop()
            row = replace(first, detail=intake.gap_detail(self._gaps + 1, first.uid, row.uid))
        self._rows.append(row)
        self._sightings.append(sighting)
        self._gaps = self._gaps + 1 if is_gap else 0

    def clear(self) -> None:
        """Drop the rows and give their room back."""
        self._rows, self._sightings, self._known, self._bytes, self._gaps = [], [], None, 0, 0
        self._room.release(self._held_bytes)
        self._held_bytes = 0
