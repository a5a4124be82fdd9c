"""Operators of the dashboard: roles, rules for passwords, and the lock after refused passwords. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MAX_REFUSALS = 3
"""Refused passwords in a row after which an operator's password is locked."""
LOCK_TIME = timedelta(hours=1)
MIN_PASSWORD_CHARACTERS = 15
"""Length of a password that is the only factor (NIST SP 800-63B, section 3.1.1.2)."""
MIN_PASSWORD_CHARACTERS_WITH_SECOND_FACTOR = 8
MAX_PASSWORD_CHARACTERS = 128
SESSION_TIME = timedelta(hours=12)
IDLE_TIME = timedelta(hours=2)
"""Time without a request after which a session ends."""
STEP_UP_TIME = timedelta(minutes=5)
"""Time for which a confirmed identity allows the actions that need one."""
INVITATION_TIME = timedelta(days=3)
PORTAL_LINK_TIME = timedelta(minutes=10)
DEFAULT_TOKEN_DAYS = 90
MAX_TOKEN_DAYS = 365
MAX_TOKENS = 20
"""Of an operator; tokens that have expired do not count."""
SIGN_IN_DAYS_OF_TOKENS = 30
"""A token of an operator whom an OpenID provider signs in needs a sign-in within this time.

Nobody tells us that the provider has closed the account.
"""


class OperatorRole(StrEnum):
    """Rights of an operator. Each role has those of the roles before it."""

    VIEWER = "viewer"  # reads every page
    OPERATOR = "operator"  # also changes partners, users and deliveries
    OWNER = "owner"  # also changes operators, providers and keys


def allows(role: OperatorRole, needed: OperatorRole) -> bool:
    """Whether an operator of this role may do what needs the other one."""
    ranks = list(OperatorRole)
    return ranks.index(role) >= ranks.index(needed)


@dataclass(frozen=True, slots=True)
class SignedInPerson:
    """A person as an OpenID provider names them.

    `email` is None unless the provider vouches for it. `authenticated_at` is the Unix time at which the person
    last proved their identity to the provider; None if the provider does not say.
    """

    issuer: str
    subject: str
    email: str | None
    groups: frozenset[str]
    authenticated_at: float | None


def role_by_groups(
    groups: Collection[str], groups_of: Mapping[OperatorRole, Collection[str]]
) -> OperatorRole | None:
    """Return the highest role that one of a person's groups has; None if no group has a role."""
    found = [role for role in OperatorRole if not set(groups).isdisjoint(groups_of.get(role, ()))]
    return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class Lock:
    """Refused passwords in a row, and until when passwords are refused unread."""

    refusals: int = 0
    until: datetime | None = None

    def is_closed(self, now: datetime) -> bool:
        """Whether passwords are refused at this time. A passkey still signs in."""
        return self.until is not None and now < self.until

    def is_last_try(self, now: datetime) -> bool:
        """Whether one more refused password locks."""
        return not self.is_closed(now) and self._refusals(now) == MAX_REFUSALS - 1

    def after_refusal(self, now: datetime) -> "Lock":
        """Return the lock after a refused password. Tries while it is closed do not prolong it."""
        if self.is_closed(now):
            return self
        refusals = self._refusals(now) + 1
        return Lock(refusals, now + LOCK_TIME if refusals >= MAX_REFUSALS else None)

    def _refusals(self, now: datetime) -> int:
        """Return the refusals that count: those before a lock that has ended do not."""
        return 0 if self.until is not None and now >= self.until else self.refusals


def password_fault(password: str, *, email: str, has_second_factor: bool) -> str | None:
    """Return what is wrong with a new password, as the rest of a sentence; None if it is good."""
    least = MIN_PASSWORD_CHARACTERS_WITH_SECOND_FACTOR if has_second_factor else MIN_PASSWORD_CHARACTERS
    if len(password) < least:
        hint = "" if has_second_factor else "; with a second factor 8 are enough"
        return f"must have at least {least} characters{hint}"
    if len(password) > MAX_PASSWORD_CHARACTERS:
        return f"must have at most {MAX_PASSWORD_CHARACTERS} characters"
    if len(set(password)) < 4 or password.casefold() in {
        email.casefold(),
        email.partition("@")[0].casefold(),
    }:
        return "is too easy to guess"
    return None
