"""Comparison of the mails of an open mailbox with those that are recorded: by metadata, in doubt by content."""

from typing import NamedTuple

from asyncpg import Pool

from superimap.db.watching import recorded_mails
from superimap.db.watching.intake import MailboxRow
from superimap.domain.numbering import (
    Doubt,
    KnownMail,
    find_doubt,
    is_same_numbering,
    judge_content,
)
from superimap.idler import big_mails
from superimap.idler.doubtful_bodies import is_doubtful
from superimap.idler.mail_rows import parse
from superimap.idler.mailbox_queries import known_mail
from superimap.idler.rooms import SessionRoom
from superimap.imap.client import ImapClient
from superimap.imap.errors import Refused


class Comparison(NamedTuple):
    """Whether UIDs mean the same mails; None if that is not known.

    `shown` is set if the last known mail is the same, and is shown with another identity than before.
    """

    is_same: bool | None
    shown: KnownMail | None = None


class Identities(NamedTuple):
    """Means of a comparison. A mail of more than `max_size` bytes is compared by its metadata alone."""

    pool: Pool
    client: ImapClient
    room: SessionRoom | None
    max_size: int

    async def compare(self, row: MailboxRow, known: list[KnownMail], *, uid_validity: int) -> Comparison:
        """Compare these mails of a numbering with what their UIDs mean now. Raises any ImapError.

        Who seems to be another mail is looked at once more: what changes with each look proves nothing. Then the
        content decides, if it was recorded.
        """
        seen = await self._look(known)
        doubt = find_doubt(known, seen)
        if doubt is None:
            return Comparison(is_same_numbering(known, seen))
        if await self._look([doubt.known]) != [doubt.seen]:
            return Comparison(None)
        is_content_same = await self._is_content_same(row, doubt, uid_validity)
        is_same = judge_content(doubt, is_content_same=is_content_same)
        return Comparison(is_same, doubt.seen if is_same else None)

    async def compare_last(self, row: MailboxRow) -> Comparison:
        """Compare the last known mail of the cursor."""
        cursor = row.cursor
        if cursor.last_mail is None or cursor.uid_validity is None:
            return Comparison(None)
        return await self.compare(row, [cursor.last_mail], uid_validity=cursor.uid_validity)

    async def _look(self, known: list[KnownMail]) -> list[KnownMail]:
        try:
            return [known_mail(meta) for meta in await self.client.fetch_meta([mail.uid for mail in known])]
        except Refused:
            return []

    async def _is_content_same(self, row: MailboxRow, doubt: Doubt, uid_validity: int) -> bool | None:
        """Return whether the mail has the recorded content; None if none is recorded, or it cannot be read."""
        uid, size = doubt.seen.uid, doubt.seen.identity.size
        if size is None or size > self.max_size:
            return None
        recorded = await recorded_mails.content_digests(self.pool, row.id, uid, uid_validity=uid_validity)
        raw = await self._read(uid, size) if recorded else None
        if recorded is None or raw is None:
            return None
        parsed = await big_mails.process(parse, raw)
        if bytes.fromhex(parsed.sha1) == recorded.sha1:
            return True
        if recorded.fingerprint is not None and parsed.fingerprint == recorded.fingerprint:
            return True
        return None if is_doubtful(raw, size) else False

    async def _read(self, uid: int, size: int) -> bytes | None:
        held = 0 if self.room is None else await self.room.acquire(size)
        try:
            return await self.client.fetch_raw(uid)
        except Refused:
            return None
        finally:
            if self.room is not None:
                self.room.release(held)
