"""Users: session statuses, the transitions between them, and whether a new sign-in is due."""

from enum import StrEnum


class UserStatus(StrEnum):
    """What a user's session is doing, or why there is none."""

    NOT_CONNECTED = "not_connected"
    CONNECTING = "connecting"
    CATCHING_UP = "catching_up"
    WATCHING = "watching"
    BACKING_OFF = "backing_off"
    THROTTLED = "throttled"
    AUTHENTICATION_FAILED = "authentication_failed"
    STALLED = "stalled"
    ARCHIVED = "archived"


class Happening(StrEnum):
    """What happens to the watching of a user, beside what the user's owner does."""

    STANDS = "stands"  # a session has caught up and waits for news
    LAGS = "lags"  # a session stands, and has much to read before it has caught up
    LOST = "lost"  # connections fail, one after the other
    THROTTLED = "throttled"  # the mail server asks for a pause
    REFUSED = "refused"  # the mail server, or who gives tokens, refuses the credentials
    SILENT = "silent"  # nothing has proven the mail server alive for STALLED_AFTER


_AFTER = {
    Happening.STANDS: UserStatus.WATCHING,
    Happening.LAGS: UserStatus.CATCHING_UP,
    Happening.LOST: UserStatus.BACKING_OFF,
    Happening.THROTTLED: UserStatus.THROTTLED,
    Happening.REFUSED: UserStatus.AUTHENTICATION_FAILED,
    Happening.SILENT: UserStatus.STALLED,
}


_OWNERS = {UserStatus.NOT_CONNECTED, UserStatus.ARCHIVED}


def status_after(status: UserStatus, happening: Happening) -> UserStatus:
    """The status that follows. What the owner did stands: only the owner undoes it.

    Who is stalled stays so until a session stands, or the server says why it will have none. Credentials that
    are refused say more than silence does: what to do.
    """
    if status in _OWNERS:
        return status
    if status == UserStatus.STALLED and happening == Happening.LOST:
        return status
    if status == UserStatus.AUTHENTICATION_FAILED and happening == Happening.SILENT:
        return status
    return _AFTER[happening]


class Reauth(StrEnum):
    """What has been told of a user whose login is refused for good; of all others nothing is kept."""

    REQUIRED = "required"  # the partner was told that the person must sign in again
    RENEWED = "renewed"  # told, and other credentials have come by the API, which no server has taken yet
