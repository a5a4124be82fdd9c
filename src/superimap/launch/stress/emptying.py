"""Deletion of old mails from the mailboxes of a stress test, as by people who work through their mail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from superimap.testing.imap.mailbox import FakeMailbox

KEPT_MAILS = 2
"""Newest mails of a mailbox that stay: enough that a mailbox that is renumbered is read again."""


class Emptying:
    """The mails of all mailboxes that may be deleted one day: of each, a receiver has accepted the webhook.

    A mail that was accepted by no receiver stays for ever, so that mail which is lost is found lost. Without
    deletions each reconnect of a long test would read more than the one before, which no real mailbox does.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[FakeMailbox, int]] = {}
        self._accepted: defaultdict[FakeMailbox, set[int]] = defaultdict(set)

    def add(self, sha1: str, mailbox: FakeMailbox, uid: int) -> None:
        """Note a mail that was delivered to a mailbox."""
        self._waiting[sha1] = mailbox, uid

    def accept(self, sha1s: Iterable[str]) -> None:
        """Note mails whose webhooks were accepted, and delete those of their mailboxes that are old."""
        for sha1 in sha1s:
            place = self._waiting.pop(sha1, None)
            if place is not None:
                mailbox, uid = place
                self._accepted[mailbox].add(uid)
                self._delete_old(mailbox)

    def _delete_old(self, mailbox: FakeMailbox) -> None:
        accepted = self._accepted[mailbox]
        old = [message.uid for message in mailbox.messages[:-KEPT_MAILS] if message.uid in accepted]
        for uid in old:
            mailbox.expunge(uid)
            accepted.discard(uid)
