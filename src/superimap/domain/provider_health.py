"""Health of a provider: the last hour compared with what is usual, in words."""

from dataclasses import dataclass

from superimap.domain.activity import ActivityCounts

WEEK_HOURS = 168.0
NOTABLE_MAILBOXES = 3
"""Mailboxes in an hour from which trouble is more than that of single people."""
NOTABLE_FACTOR = 4.0
"""How many times the usual trouble is notable."""
EXPECTED_MAILS = 20.0
"""Usual mails in an hour from which their absence says something."""
QUIET_SHARE = 0.1
"""Share of the usual mails below which an hour is quiet. A night has a fifth of the mails of a day."""


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """A sentence about the last hour, and its tone; the numbers of an hour, usual and now."""

    tone: str
    text: str
    usual_refusals: float
    usual_silences: float
    usual_mails: float


def judge_provider(
    hour: ActivityCounts, week: ActivityCounts, *, hours: float = WEEK_HOURS
) -> ProviderHealth:
    """Compare the last hour with an hour of the last `hours` on average."""
    refusals, silences, mails = (
        value / hours if hours > 0 else 0.0 for value in (week.refusals, week.silences, week.mails)
    )
    found = []
    if _is_notable(hour.refusals, refusals):
        found.append(("bad", f"refused {_mailboxes(hour.refusals)}, usually {_usual(refusals)} an hour"))
    if _is_notable(hour.silences, silences):
        found.append(
            ("bad", f"fell silent for {_mailboxes(hour.silences)}, usually {_usual(silences)} an hour")
        )
    if mails >= EXPECTED_MAILS and hour.mails < QUIET_SHARE * mails:
        found.append(("warn", f"had {_mails(hour.mails)}, usually {_usual(mails)} an hour"))
    if found:
        tone, text = found[0][0], "; ".join(text for _, text in found)
    elif week.mails or week.refusals or week.silences:
        tone, text = "good", "as usual"
    else:
        tone, text = "", "nothing happened in the last seven days"
    return ProviderHealth(tone, text[0].upper() + text[1:] + ".", refusals, silences, mails)


def _is_notable(now: int, usual: float) -> bool:
    return now >= NOTABLE_MAILBOXES and now > NOTABLE_FACTOR * usual


def _mailboxes(count: int) -> str:
    return f"{count:,} mailbox" if count == 1 else f"{count:,} mailboxes"


def _usual(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"


def _mails(count: int) -> str:
    return f"{count:,} mail" if count == 1 else f"{count:,} mails"
