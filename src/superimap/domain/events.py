"""Which kinds of webhooks are there, and of what does one of the kind `events` tell?"""

from enum import StrEnum


class EventKind(StrEnum):
    """The kinds of webhooks; an endpoint takes one kind."""

    NEW_MAIL = "new_mail"
    USER_CONNECTED = "user_connected"
    USER_DISCONNECTED = "user_disconnected"
    EVENTS = "events"


class EventName(StrEnum):
    """What an `events` webhook tells of, in its field `event`."""

    USER_REAUTH_REQUIRED = "user_reauth_required"
    USER_RESTORED = "user_restored"
    USER_STALLED = "user_stalled"
    USER_RECOVERED = "user_recovered"
    USER_ARCHIVED = "user_archived"
    MAIL_OVERSIZED = "mail_oversized"


class ReasonCode(StrEnum):
    """Why something happened to a user, for programs."""

    LOGIN_REFUSED = "login_refused"  # the mail server does not take the password, or the token
    ACCESS_REVOKED = "access_revoked"  # the provider gives no token any more
    CONSENT_REQUIRED = "consent_required"  # the provider wants the person, or an administrator, to agree
    APPLICATION_REFUSED = "application_refused"  # the application answered 403
