"""Numberings of a mailbox's UIDs, and the identity of a mail across them. Pure decisions."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

MAX_RECORDED = (1 << 53) - 1
"""The largest number that JSON carries exactly (RFC 8259 section 6); `uid_validity` is part of the API."""
MAX_MESSAGE_ID_CHARACTERS = 255
"""The part of a Message-ID that `messages` stores, and that identifies a mail."""
_OWN = 1 << 52  # the bit that numberings of our own have; a server's 32-bit UIDVALIDITY has not


class MailIdentity(NamedTuple):
    """What identifies a mail without its content. A part that the server did not tell is None.

    `message_id` is a digest of 16 bytes, so that it has one length in the table.
    """

    message_id: bytes | None
    internal_date: datetime | None
    size: int | None


class KnownMail(NamedTuple):
    """A mail that was seen under this UID."""

    uid: int
    identity: MailIdentity


class Numbering(NamedTuple):
    """One numbering of a mailbox's UIDs.

    `server_value` is the UIDVALIDITY that the server reports; 0 if it reports none. `restarts` counts the
    numberings that the server began without a UIDVALIDITY of their own. `recorded` is the number that stands for
    this numbering in our tables.
    """

    server_value: int
    restarts: int
    recorded: int


def identify(message_id: str | None, internal_date: datetime | None, size: int | None) -> MailIdentity:
    """Return the identity of a mail with this Message-ID, INTERNALDATE and RFC822.SIZE (bytes)."""
    text = (message_id or "")[:MAX_MESSAGE_ID_CHARACTERS].encode("utf-8", "replace")
    digest = hashlib.sha256(text).digest()[:16] if text else None
    return MailIdentity(digest, internal_date, size)


def is_same_mail(known: MailIdentity, seen: MailIdentity) -> bool | None:
    """Return whether two identities are of one mail; None if too little is known.

    Two Message-IDs decide: some servers estimate RFC822.SIZE, and some take INTERNALDATE from a file's time.
    """
    if known.message_id is not None and seen.message_id is not None:
        return known.message_id == seen.message_id
    pairs = ((known.internal_date, seen.internal_date), (known.size, seen.size))
    answers = [one == other for one, other in pairs if one is not None and other is not None]
    if not all(answers):
        return False
    return True if len(answers) == len(pairs) else None


def is_same_numbering(known: Iterable[KnownMail], seen: Iterable[KnownMail]) -> bool | None:
    """Return whether UIDs mean the same mails as before; None if no UID of `known` decides.

    One UID that means another mail proves that the numbering is another one.
    """
    before = {mail.uid: mail.identity for mail in known}
    answers = [
        answer
        for mail in seen
        if (identity := before.get(mail.uid)) is not None
        and (answer := is_same_mail(identity, mail.identity)) is not None
    ]
    return all(answers) if answers else None


def first_numbering(server_value: int, *, restarts: int = 0) -> Numbering:
    """Return the numbering in which a UIDVALIDITY is seen for the first time."""
    is_exact = server_value <= MAX_RECORDED
    return Numbering(server_value, restarts, server_value if is_exact else _own_number(server_value, 0))


def next_numbering(server_value: int, *, restarts: int) -> Numbering:
    """Return the numbering of UIDs that begin again under a UIDVALIDITY, after `restarts` such numberings."""
    return Numbering(server_value, restarts + 1, _own_number(server_value, restarts + 1))


def _own_number(server_value: int, restarts: int) -> int:
    digest = hashlib.sha256(b"%d %d" % (server_value, restarts)).digest()
    return int.from_bytes(digest[:8]) % _OWN | _OWN
