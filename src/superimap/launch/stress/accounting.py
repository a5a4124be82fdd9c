"""Accounts of a stress test: what became of each mail, so that the parts add up to what was sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from superimap.launch.stress.records import MailRecord

ACCEPTED = "accepted"
"""A receiver answered a webhook of the mail by 2xx."""

NOT_RECORDED = "not recorded"
OWED = "owed"
"""Its delivery is not settled."""


@dataclass(frozen=True, slots=True)
class MailTally:
    """Mails by what became of them; the counts of `parts` add up to `sent`."""

    sent: int
    parts: dict[str, int]
    recorded: int
    first_attempt: int
    """Accepted mails whose first POST was accepted."""
    duplicates: int
    """Acceptances beyond the first of each mail."""
    doubled: int
    """Mails with more than one webhook-id."""

    @property
    def lost(self) -> int:
        """Mails that no receiver accepted."""
        return self.sent - self.parts.get(ACCEPTED, 0)


def account(mails: Sequence[MailRecord]) -> MailTally:
    """Return the account of these mails."""
    parts = Counter(_part(mail) for mail in mails)
    accepted = [mail for mail in mails if mail.accepted]
    return MailTally(
        sent=len(mails),
        parts=dict(sorted(parts.items(), key=lambda part: (part[0] != ACCEPTED, part[0]))),
        recorded=sum(mail.recorded is not None for mail in mails),
        first_attempt=sum(not mail.refused or min(mail.accepted) < min(mail.refused) for mail in accepted),
        duplicates=sum(len(mail.accepted) - 1 for mail in accepted),
        doubled=sum(len(mail.webhook_ids) > 1 for mail in mails),
    )


def _part(mail: MailRecord) -> str:
    """Name the one part to which a mail belongs."""
    if mail.accepted:
        return ACCEPTED
    if mail.outcome is None:
        return NOT_RECORDED
    if mail.outcome != "delivered":
        return mail.outcome
    return OWED if mail.state in {None, "pending", "sending"} else str(mail.state)


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of them does not exceed; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    place = -(-len(ordered) * share // 1)
    return ordered[min(max(int(place) - 1, 0), len(ordered) - 1)]
