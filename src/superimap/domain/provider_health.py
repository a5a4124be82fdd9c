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

LEAST_SHOWN = 0.1
"""The least number an hour that is shown as it is."""


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """A sentence about the last hour, its tone, and the tone in a word or two; usual numbers of an hour."""

    tone: str
    word: str
    text: str
    usual_refusals: float
    usual_silences: float
    usual_mails: float


def judge_provider(
    hour: ActivityCounts, week: ActivityCounts, *, hours: float = WEEK_HOURS, unreachable: int = 0
) -> ProviderHealth:
    """Compare the last hour with an hour of the last `hours` on average.

    `unreachable` is the number of mailboxes whose sessions fail, or whose server is silent, at this moment.
    """
    refusals, silences, mails = (
        value / hours if hours > 0 else 0.0 for value in (week.refusals, week.silences, week.mails)
    )
    found = []
    if unreachable:
        is_notable = unreachable >= NOTABLE_MAILBOXES
        text = f"{_mailboxes(unreachable)} cannot be read at this moment"
        found.append(("bad", "trouble", text) if is_notable else ("warn", "some trouble", text))
    if _is_notable(hour.refusals, refusals):
        found.append(
            ("bad", "trouble", f"refused {_mailboxes(hour.refusals)}, usually {_usual(refusals)} an hour")
        )
    if _is_notable(hour.silences, silences):
        found.append(
            (
                "bad",
                "trouble",
                f"fell silent for {_mailboxes(hour.silences)}, usually {_usual(silences)} an hour",
            )
        )
    if mails >= EXPECTED_MAILS and hour.mails < QUIET_SHARE * mails:
        found.append(("warn", "quiet", f"had {_mails(hour.mails)}, usually {_usual(mails)} an hour"))
    if found:
        tone, word, _ = min(found)  # "bad" comes before "warn"
        text = "; ".join(text for _, _, text in found)
    elif week.mails or week.refusals or week.silences:
        tone, word, text = "good", "fine", "as usual"
    else:
        tone, word, text = "", "idle", "nothing happened in the last seven days"
    return ProviderHealth(tone, word, text[0].upper() + text[1:] + ".", refusals, silences, mails)


def _is_notable(now: int, usual: float) -> bool:
    return now >= NOTABLE_MAILBOXES and now > NOTABLE_FACTOR * usual


def _mailboxes(count: int) -> str:
    return f"{count:,} mailbox" if count == 1 else f"{count:,} mailboxes"


def _usual(value: float) -> str:
    if 0 < value < LEAST_SHOWN:
        return f"less than {LEAST_SHOWN}"
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"


def _mails(count: int) -> str:
    return f"{count:,} mail" if count == 1 else f"{count:,} mails"
