"""Users: session statuses, status transitions, and the progress of a re-authentication."""

from enum import StrEnum


class UserStatus(StrEnum):
    """What the session of a user is doing, or why there is no session."""

    NOT_CONNECTED = "not_connected"
    CONNECTING = "connecting"
    CATCHING_UP = "catching_up"
    WATCHING = "watching"
    BACKING_OFF = "backing_off"
    THROTTLED = "throttled"
    SUSPENDED = "suspended"
    AUTHENTICATION_FAILED = "authentication_failed"
    STALLED = "stalled"
    ARCHIVED = "archived"


TROUBLED = frozenset(
    {
        UserStatus.BACKING_OFF,
        UserStatus.THROTTLED,
        UserStatus.SUSPENDED,
        UserStatus.AUTHENTICATION_FAILED,
        UserStatus.STALLED,
    }
)
"""Statuses of users that should be watched and are not; the table `troubled_users` has them."""


class StatusChange(StrEnum):
    """What is observed about a user's session. Changes by the partner (archive, credentials) are excluded."""

    CAUGHT_UP = "caught_up"  # the session has read everything and waits for new mail
    CATCHING_UP = "catching_up"  # the session is established and has a backlog to read
    CONNECTION_LOST = "connection_lost"  # connections fail, one after another
    THROTTLED = "throttled"  # the mail server requests a pause
    SUSPENDED = "suspended"  # the mail server exceeds its bounds
    LOGIN_REFUSED = "login_refused"  # the mail server or the token endpoint refuses the credentials
    UNRESPONSIVE = "unresponsive"  # no proof of life from the mail server for STALLED_AFTER seconds


_STATUS_AFTER = {
    StatusChange.CAUGHT_UP: UserStatus.WATCHING,
    StatusChange.CATCHING_UP: UserStatus.CATCHING_UP,
    StatusChange.CONNECTION_LOST: UserStatus.BACKING_OFF,
    StatusChange.THROTTLED: UserStatus.THROTTLED,
    StatusChange.SUSPENDED: UserStatus.SUSPENDED,
    StatusChange.LOGIN_REFUSED: UserStatus.AUTHENTICATION_FAILED,
    StatusChange.UNRESPONSIVE: UserStatus.STALLED,
}

# The partner sets these two, and only the partner changes them.
_SET_BY_PARTNER = frozenset({UserStatus.NOT_CONNECTED, UserStatus.ARCHIVED})

# A stalled user stays stalled until a session is established or the server gives a reason for refusing one.
# A refused login outranks an unresponsive server, because it says what to do.
_STATUS_KEPT = frozenset(
    {
        (UserStatus.STALLED, StatusChange.CONNECTION_LOST),
        (UserStatus.AUTHENTICATION_FAILED, StatusChange.UNRESPONSIVE),
    }
)


def status_after(status: UserStatus, change: StatusChange) -> UserStatus:
    """Return the status that follows `change`: the one that belongs to the change, or the present one if kept."""
    if status in _SET_BY_PARTNER or (status, change) in _STATUS_KEPT:
        return status
    return _STATUS_AFTER[change]


class Reauth(StrEnum):
    """Progress of a re-authentication, kept for users whose login was refused permanently; NULL for all others.

    NULL or RENEWED -> REQUIRED: a login is refused; `user_reauth_required` is recorded.
    REQUIRED -> RENEWED: complete new credentials arrive through the API (incomplete ones: NULL).
    REQUIRED or RENEWED -> NULL: a session is established, or the person connects by link; `user_restored` is
        recorded.
    """

    REQUIRED = "required"  # the partner was notified that the person must sign in again
    RENEWED = "renewed"  # new credentials arrived through the API; no server has accepted them yet
