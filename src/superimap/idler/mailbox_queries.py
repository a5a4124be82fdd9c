"""Questions to the mail server about the mails of an open mailbox."""

from superimap.domain.numbering import KnownMail, MailIdentity, identify
from superimap.idler.read_errors import Withheld
from superimap.idler.suspects import Suspects
from superimap.imap.client import ImapClient
from superimap.imap.errors import ImapError, Refused
from superimap.imap.fetching import PEEK_BYTES
from superimap.imap.types import MessageMeta

MAX_FAST_FETCH_MAILS = 4
"""Mails that may be announced at once for a fast fetch; more are searched for."""
FAST_FETCH_BYTES = (MAX_FAST_FETCH_MAILS + 1) * PEEK_BYTES
"""Bytes of mail that a fast fetch reads at most."""
_GONE_SECONDS = 0.00002  # of the event loop's time for a UID without a mail, which a server may invent


async def fetch_announced(
    client: ImapClient, *, after: int, announced: int
) -> list[tuple[MessageMeta, bytes | None]]:
    """Read the `announced` mails (MAX_FAST_FETCH_MAILS at most) right above `after` in one command, not three.

    One UID more is requested, so that `catch_up_plan.are_complete` notices a server that announced too few mails.
    Raises any ImapError.
    """
    return await client.fetch_next(after, announced + 1)


async def fetch_metas(client: ImapClient, uids: list[int]) -> dict[int, MessageMeta | None]:
    """Return the metadata of each mail by UID; None if it is proven to be deleted or moved.

    A mail that the answer left out, and that may still be there, is absent.
    """
    found: dict[int, MessageMeta | None] = {int(meta.uid): meta for meta in await client.fetch_meta(uids)}
    if missing := [uid for uid in uids if uid not in found]:
        denied, is_proven = await client.denied(missing)
        await client.pay_for(_GONE_SECONDS * len(denied))
        found |= dict.fromkeys(denied if is_proven else ())
    return found


async def fetch_raw(client: ImapClient, uid: int) -> bytes | None:
    """Return the bytes of a mail; None if it is proven to be deleted or moved. Raises Withheld if it is not."""
    raw = await client.fetch_raw(uid)
    if raw is None and await client.denied([uid]) != ({uid}, True):
        raise Withheld
    return raw


def identity_of(meta: MessageMeta) -> MailIdentity:
    """Return what identifies a mail on this server, under whatever UID."""
    return identify(meta.message_id, meta.internal_date, meta.size)


def known_mail(meta: MessageMeta) -> KnownMail:
    """Return the mail with its UID, to be recognised later."""
    return KnownMail(int(meta.uid), identity_of(meta))


async def highest_mail(client: ImapClient, suspects: Suspects) -> MessageMeta | int:
    """Return the last mail of the mailbox; its UID if the server does not tell more, and 0 if there is none."""
    uid = await client.highest_uid()
    if not uid or suspects.get(uid):
        return uid
    try:
        metas = await client.fetch_meta([uid])
    except Refused:
        return uid
    except ImapError as error:
        suspects.add(uid, error)
        raise
    return metas[0] if metas else uid
