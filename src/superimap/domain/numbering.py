"""Numberings of a mailbox's UIDs, and the identity of a mail across them. Pure decisions."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

MAX_RECORDED = (1 << 53) - 1
"""The largest number that JSON carries exactly (RFC 8259 section 6); `uid_validity` is part of the API."""
MAX_MESSAGE_ID_CHARACTERS = 255
"""The part of a Message-ID that `messages` stores, and that identifies a mail."""
EARLIER_NUMBERINGS = 16
"""Numberings of a UIDVALIDITY among which the one is looked for that it continues when it returns."""
MAX_RESTARTS_AT_ONCE = 6
"""Restarts of a mailbox' numbering that may follow one another at once."""
RESTART_INTERVAL_SECONDS = 4 * 3600.0
"""Seconds after which one more restart may follow.

Without a bound, a server that shows other identities in each session would have its mails read again each time.
"""
_LARGEST_SHIFT = timedelta(hours=26)  # between the time zones +14:00 and -12:00
_SHIFT_STEP = timedelta(minutes=15)
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
    """Return whether two identities are of one mail; None if they leave a doubt.

    Message-IDs that differ are of two mails. Equal ones are of one mail, unless date and size both differ:
    scanners and forms give all their mails one Message-ID, while some servers estimate RFC822.SIZE, and some take
    INTERNALDATE from a file's time. If one of the two differs, there is a doubt. Without Message-IDs, date and
    size decide. A date that is shifted as by a change of time zone decides nothing.
    """
    ids = _are_equal(known.message_id, seen.message_id)
    if ids is False:
        return False
    date, size = _are_equal(known.internal_date, seen.internal_date), _are_equal(known.size, seen.size)
    is_shifted = date is False and _is_shifted(known.internal_date, seen.internal_date)
    if ids:
        if date is False and size is False and not is_shifted:
            return False
        return None if date is False or size is False else True
    if size is False or (date is False and not is_shifted):
        return False
    return True if date and size else None


def _are_equal(one: object, other: object) -> bool | None:
    return None if one is None or other is None else one == other


def _is_shifted(one: datetime | None, other: datetime | None) -> bool:
    """Return whether two dates differ as one moment does in two time zones."""
    if one is None or other is None:
        return False
    return abs(one - other) <= _LARGEST_SHIFT and not abs(one - other) % _SHIFT_STEP


def is_same_numbering(known: Iterable[KnownMail], seen: Iterable[KnownMail]) -> bool | None:
    """Return whether UIDs mean the same mails as before; None if no UID of `known` decides.

    One UID that means another mail proves that the numbering is another one.
    """
    answers = {answer for _, _, answer in _compared(known, seen)} - {None}
    return all(answers) if answers else None


class Doubt(NamedTuple):
    """A mail whose content is to be compared, and what its metadata say (`is_same_mail`)."""

    known: KnownMail
    seen: KnownMail
    is_same: bool | None


def find_doubt(known: Iterable[KnownMail], seen: Iterable[KnownMail]) -> Doubt | None:
    """Return the mail whose content decides whether UIDs mean the same mails; None if metadata do or nothing does.

    That is the last mail that seems to be another one; without such a mail, the last one that leaves a doubt,
    unless another is certainly the same.
    """
    compared = list(_compared(known, seen))
    for wanted in (False, None):
        doubts = [Doubt(*each) for each in compared if each[2] is wanted]
        if doubts:
            return max(doubts, key=lambda each: each.seen.uid)
        if any(answer for *_, answer in compared):
            return None
    return None


def _compared(
    known: Iterable[KnownMail], seen: Iterable[KnownMail]
) -> Iterable[tuple[KnownMail, KnownMail, bool | None]]:
    before = {mail.uid: mail for mail in known}
    return (
        (before[mail.uid], mail, is_same_mail(before[mail.uid].identity, mail.identity))
        for mail in seen
        if mail.uid in before
    )


def judge_content(doubt: Doubt, *, is_content_same: bool | None) -> bool | None:
    """Return whether the mail of a doubt is the same, once its content is compared; None if that is not known.

    A content that differs proves nothing if Message-ID and date are the same: some servers rewrite mails.
    """
    if is_content_same is None:
        return doubt.is_same
    if is_content_same:
        return True
    has_date_changed = doubt.known.identity.internal_date != doubt.seen.identity.internal_date
    return False if doubt.is_same is False or has_date_changed else None


def may_restart(debt_seconds: float) -> bool:
    """Return whether a numbering may begin without a UIDVALIDITY of its own.

    `debt_seconds` is the time until all earlier ones are paid off, RESTART_INTERVAL_SECONDS each.
    """
    return debt_seconds <= (MAX_RESTARTS_AT_ONCE - 1) * RESTART_INTERVAL_SECONDS


def first_numbering(server_value: int, *, restarts: int = 0) -> Numbering:
    """Return the numbering in which a UIDVALIDITY is seen for the first time."""
    is_exact = server_value <= MAX_RECORDED
    return Numbering(server_value, restarts, server_value if is_exact else _own_number(server_value, 0))


def earlier_numberings(server_value: int, *, restarts: int) -> Iterator[Numbering]:
    """Yield the numberings that a UIDVALIDITY may have had so far, the latest first, EARLIER_NUMBERINGS at most.

    `restarts` counts those of the mailbox under all of its values, so most of them belong to other values.
    """
    for number in range(restarts, max(0, restarts - EARLIER_NUMBERINGS + 1), -1):
        yield Numbering(server_value, restarts, _own_number(server_value, number))
    yield first_numbering(server_value, restarts=restarts)


def next_numbering(server_value: int, *, restarts: int) -> Numbering:
    """Return the numbering of UIDs that begin again under a UIDVALIDITY, after `restarts` such numberings."""
    return Numbering(server_value, restarts + 1, _own_number(server_value, restarts + 1))


def _own_number(server_value: int, restarts: int) -> int:
    digest = hashlib.sha256(b"%d %d" % (server_value, restarts)).digest()
    return int.from_bytes(digest[:8]) % _OWN | _OWN
