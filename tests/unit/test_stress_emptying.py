"""Deletion of old mails in the stress test: it bounds mailboxes, and hides no lost mail."""

from __future__ import annotations

from superimap.launch.stress.emptying import KEPT_MAILS, Emptying
from superimap.testing.imap.mailbox import FakeMailbox


def test_only_accepted_mails_are_deleted_and_the_newest_ones_stay():
    mailbox, other = FakeMailbox("INBOX"), FakeMailbox("INBOX")
    emptying = Emptying()
    for number in range(10):
        emptying.add(f"sha1 {number}", mailbox, mailbox.append(b""))
    emptying.add("other", other, other.append(b""))

    emptying.accept(["other", "forged", *(f"sha1 {number}" for number in (9, 8, 7, 5, 4, 3, 1, 0))])
    left = [message.uid - 1 for message in mailbox.messages]
    emptying.accept(["sha1 2", "sha1 2"])

    assert left == [2, 6, 8, 9]  # 2 and 6 were lost
    assert [message.uid - 1 for message in mailbox.messages] == [6, 8, 9]
    assert len(other) == 1 <= KEPT_MAILS
