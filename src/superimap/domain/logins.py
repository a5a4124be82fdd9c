"""Refused logins: when a refusal with several possible causes counts, and how long the next login waits."""

from dataclasses import dataclass

ESCALATION_SECONDS = 3 * 3600.0
"""Time over which logins must have been refused before an unclear refusal counts as one of the credentials."""
ESCALATION_REFUSALS = 4
"""Refusals that are needed in that time."""


@dataclass(frozen=True, slots=True)
class LoginHistory:
    """What is stored of a user's logins with its present credentials.

    `was_accepted`: a login has succeeded. `refusals`: logins refused since the last success, and `refused_seconds`
    the time since the first of them, by PostgreSQL's clock. `failing_seconds`: the time since the last proof of
    life from the server, or since the user was connected.
    """

    was_accepted: bool = False
    refusals: int = 0
    refused_seconds: float = 0.0
    failing_seconds: float = 0.0


def refuses_credentials(history: LoginHistory, *, is_certain: bool) -> bool:
    """Return whether one more refusal means that other credentials are needed.

    An answer that allows several causes counts at once for credentials that no login has proved, else if the same
    was true for hours: a server that is only busy accepts them in between.
    """
    return is_certain or not history.was_accepted or has_lasted(history)


def has_lasted(history: LoginHistory) -> bool:
    """Return whether logins have been refused for hours, with this refusal."""
    return history.refused_seconds >= ESCALATION_SECONDS and history.refusals + 1 >= ESCALATION_REFUSALS


def refused_pause(history: LoginHistory, *, first: float, longest: float, chance: float) -> float:
    """Return the seconds until the login after one more refusal.

    Half of `first`, and half to all of a ceiling that doubles from `first` to `longest`; `chance` is from 0 to 1.
    """
    ceiling = min(first * 2.0 ** min(history.refusals, 32), longest)
    return first / 2 + (0.5 + chance / 2) * ceiling


def persistence_note(history: LoginHistory, *, has_code: bool) -> str:
    """Return what a status adds to a temporary refusal that has lasted for hours; empty before.

    Such a refusal never counts as one of the credentials. A response code is proof that it is temporary; a text
    alone is none, and a person has to look.
    """
    if history.failing_seconds < ESCALATION_SECONDS:
        return ""
    cause = "" if has_code else "; the account or its password may be the cause, check at the provider"
    return f" (no login accepted for {history.failing_seconds / 3600:.0f} h{cause})"
