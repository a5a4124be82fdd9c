"""Which kinds of webhooks are there?"""

from enum import StrEnum


class EventKind(StrEnum):
    """The kinds of webhooks; an endpoint takes one kind."""

    NEW_MAIL = "new_mail"
    USER_CONNECTED = "user_connected"
    USER_DISCONNECTED = "user_disconnected"
