"""Mails of a mailbox that are recorded: their identities, and which UIDs have none."""

from collections.abc import Sequence
from typing import NamedTuple

from asyncpg import Pool

from superimap.db import statements
from superimap.domain.numbering import KnownMail, identify

_STATEMENTS = statements.load(__file__)
_KNOWN_MAILS = _STATEMENTS["known_mails"]
_CONTENT_DIGESTS = _STATEMENTS["content_digests"]
_RESTART_DEBT = _STATEMENTS["restart_debt"]
_UNRECORDED_UIDS = _STATEMENTS["unrecorded_uids"]

MAX_KNOWN_MAILS = 16
"""Recorded mails whose identities are compared with the server's, where that of the cursor does not decide."""


async def known_mails(pool: Pool, mailbox_id: int, *, uid_validity: int, up_to: int) -> list[KnownMail]:
    """Return the last mails recorded in this numbering with UIDs up to `up_to`, MAX_KNOWN_MAILS at most."""
    rows = await pool.fetch(
        *_KNOWN_MAILS.bind(
            mailbox_id=mailbox_id, uid_validity=uid_validity, up_to=up_to, most=MAX_KNOWN_MAILS
        )
    )
    return [KnownMail(row["uid"], identify(row["message_id"], row["internal_date"], None)) for row in rows]


class ContentDigests(NamedTuple):
    """SHA-1 of a mail's bytes, and its fingerprint (`mail.envelope.fingerprint`)."""

    sha1: bytes
    fingerprint: bytes | None


async def content_digests(
    pool: Pool, mailbox_id: int, uid: int, *, uid_validity: int
) -> ContentDigests | None:
    """Return the digests of a recorded mail; None if it is not recorded, or was not read."""
    row = await pool.fetchrow(
        *_CONTENT_DIGESTS.bind(mailbox_id=mailbox_id, uid=uid, uid_validity=uid_validity)
    )
    return None if row is None else ContentDigests(row["sha1"], row["fingerprint"])


async def restart_debt(pool: Pool, mailbox_id: int) -> float:
    """Return the seconds until the restarts of the mailbox' numbering are paid off (`numbering.may_restart`)."""
    seconds: float | None = await pool.fetchval(*_RESTART_DEBT.bind(mailbox_id=mailbox_id))
    return seconds or 0.0


async def unrecorded_uids(
    pool: Pool, mailbox_id: int, uids: Sequence[int], *, uid_validity: int
) -> list[int]:
    """Return those of `uids` that no message of this numbering has, but for those that were gone, ascending."""
    rows = await pool.fetch(
        *_UNRECORDED_UIDS.bind(mailbox_id=mailbox_id, uid_validity=uid_validity, uids=list(uids))
    )
    return [row["uid"] for row in rows]
