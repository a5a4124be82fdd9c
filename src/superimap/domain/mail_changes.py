"""Changes of mails after their webhook: what is known of a mail compared with what the mailbox shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_COMPARED_MAILS = 1_000
"""The latest mails of a mailbox that are compared."""
MAX_EXAMINED_ROWS = 5_000
"""The latest recorded mails of a mailbox among which those with a webhook are looked for."""
MAX_CHANGES_PER_LOOK = 100
"""Changes that are recorded at once; the others are found by the next look."""
MAX_FLAGS = 64
"""Flags of a mail that are compared."""
MAX_FLAG_CHARACTERS = 128
RECENT = "\\recent"

Flags = tuple[str, ...]
"""Flags in order, each once, as the server spells them."""


@dataclass(frozen=True, slots=True)
class TrackedMail:
    """A mail whose changes are reported, with its known state.

    `original` is the message that had the webhook: another one, if the mail was moved since. `sha1` is the digest
    in that webhook, as 40 hex digits. `flags` is None if the mail was never looked at and was recorded before the
    first look, so that its state is not news. `is_stored` says that its state is recorded.
    """

    message: int
    original: int
    sha1: str | None
    uid: int
    flags: Flags | None
    absent_since: datetime | None
    is_stored: bool


@dataclass(frozen=True, slots=True)
class MailChange:
    """The new state of a mail. It is an event if `is_event`: of flags, or, if `is_gone`, of the mail."""

    mail: TrackedMail
    flags: Flags
    absent_since: datetime | None = None
    is_gone: bool = False
    is_event: bool = False
    added: Flags = ()
    removed: Flags = ()


def clean_flags(shown: Iterable[str]) -> Flags:
    """Return flags as they are compared and reported: without \\Recent, blanks and control characters; sorted.

    Of flags that differ in letter case alone the first counts. Long flags are cut, and many are left out.
    """
    found: dict[str, str] = {}
    for each in shown:
        name = "".join(char for char in each[: 2 * MAX_FLAG_CHARACTERS] if char.isprintable() and char != " ")
        name = name[:MAX_FLAG_CHARACTERS]
        if name and name.lower() != RECENT:
            found.setdefault(name.lower(), name)
    return tuple(found[key] for key in sorted(found)[:MAX_FLAGS])


def compare(
    tracked: Sequence[TrackedMail],
    shown: Mapping[int, Flags | None],
    *,
    now: datetime,
    wait: timedelta,
    moved: Iterable[int] = (),
) -> list[MailChange]:
    """Return the changes from the known to the shown state, in order of UID.

    `shown` has the flags of each mail by UID, None for one that is proven to be absent, and nothing for one of
    which nothing is known. An absent mail counts as gone once it has been absent for `wait`; one of the messages
    `moved`, whose copy is in another mailbox, at once.
    """
    copied = frozenset(moved)
    changes = (
        _change(mail, shown[mail.uid], now, timedelta() if mail.message in copied else wait)
        for mail in sorted(tracked, key=lambda each: each.uid)
        if mail.uid in shown
    )
    return [change for change in changes if change is not None]


def _change(mail: TrackedMail, shown: Flags | None, now: datetime, wait: timedelta) -> MailChange | None:
    if shown is None:
        return _absence(mail, now, wait)
    if mail.flags is None:
        return MailChange(mail, shown)
    before, after = (frozenset(map(str.lower, each)) for each in (mail.flags, shown))
    if before != after:
        return MailChange(
            mail,
            shown,
            is_event=True,
            added=tuple(each for each in shown if each.lower() not in before),
            removed=tuple(each for each in mail.flags if each.lower() not in after),
        )
    if mail.absent_since is not None or not mail.is_stored:
        return MailChange(mail, shown)
    return None


def _absence(mail: TrackedMail, now: datetime, wait: timedelta) -> MailChange | None:
    if mail.flags is None:  # it was deleted before the first look
        return MailChange(mail, (), is_gone=True)
    since = mail.absent_since or now
    if now - since >= wait:
        return MailChange(mail, mail.flags, since, is_gone=True, is_event=True)
    return MailChange(mail, mail.flags, since) if mail.absent_since is None else None


def limited(changes: Sequence[MailChange], most: int = MAX_CHANGES_PER_LOOK) -> list[MailChange]:
    """Return the changes without the events beyond the first `most`."""
    kept, events = [], 0
    for change in changes:
        events += change.is_event
        if not change.is_event or events <= most:
            kept.append(change)
    return kept


def is_doubtful(*, absent: int, tracked: int, exists: int, expunged: int) -> bool:
    """Return whether so many absent mails may be the view of a server that has not loaded the whole mailbox.

    `exists` mails are shown, `expunged` were reported as expunged since the mailbox was opened. An empty mailbox,
    or the absence of most of the mails, is doubted unless the server has announced each expunge.
    """
    return absent > expunged and (exists == 0 or 2 * absent > tracked)
