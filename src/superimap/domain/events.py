"""Webhook kinds, and the registry of events: wire names, payload fields and documentation.

To add an event: add its names and its definition here, allow its stored kind in a migration, record it in a
statement of `db`, and add its row to docs/webhooks.md. Payload, API descriptions and the checks of the
documentation are derived from EVENTS.
"""

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """The kinds of webhooks. An endpoint receives one kind."""

    NEW_MAIL = "new_mail"
    USER_CONNECTED = "user_connected"
    USER_DISCONNECTED = "user_disconnected"
    EVENTS = "events"


class EventName(StrEnum):
    """Values of the field `event` in a webhook of the kind `events`."""

    USER_REAUTH_REQUIRED = "user_reauth_required"
    USER_RESTORED = "user_restored"
    USER_STALLED = "user_stalled"
    USER_RECOVERED = "user_recovered"
    USER_ARCHIVED = "user_archived"
    MAIL_OVERSIZED = "mail_oversized"
    MAIL_UNREADABLE = "mail_unreadable"
    MAIL_FLAGS_CHANGED = "mail_flags_changed"
    MAIL_MOVED = "mail_moved"
    MAIL_DELETED = "mail_deleted"


class UserEventKind(StrEnum):
    """Events about a user, as the table `user_events` stores them."""

    STALLED = "stalled"
    RECOVERED = "recovered"
    REAUTH_REQUIRED = "reauth_required"
    RESTORED = "restored"
    ARCHIVED = "archived"


class ReasonCode(StrEnum):
    """Why something happened to a user, for programs."""

    LOGIN_REFUSED = "login_refused"  # the mail server does not accept the password or the access token
    ACCESS_REVOKED = "access_revoked"  # the provider no longer issues access tokens
    CONSENT_REQUIRED = "consent_required"  # the provider requires the person or an administrator to consent
    APPLICATION_REFUSED = "application_refused"  # the application answered 403


@dataclass(frozen=True, slots=True)
class EventDefinition:
    """One event as partners see it.

    `recorded_as` is the stored kind, or None for an event whose content is stored with its delivery. `fields` are
    the payload fields of this event in addition to those of every event, in order. `sent_when` is the
    sentence of docs/webhooks.md and of the API description, without a full stop.
    """

    name: EventName
    recorded_as: UserEventKind | None
    sent_when: str
    fields: tuple[str, ...] = ()


_CHANGE = ("message", "mail_sha1", "uid_validity", "uid", "mailbox")

EVENTS: dict[EventName, EventDefinition] = {
    event.name: event
    for event in (
        EventDefinition(
            EventName.USER_REAUTH_REQUIRED,
            UserEventKind.REAUTH_REQUIRED,
            "The mail server or the provider permanently rejects the credentials of a connected user",
            ("reason_code", "reason", "connect_url"),
        ),
        EventDefinition(
            EventName.USER_RESTORED,
            UserEventKind.RESTORED,
            "A user who had to sign in again is connected: the person has connected again,"
            " or a session is established again",
        ),
        EventDefinition(
            EventName.USER_STALLED,
            UserEventKind.STALLED,
            "The user's mail server has given no proof of life for `STALLED_AFTER`",
            ("reason",),
        ),
        EventDefinition(
            EventName.USER_RECOVERED,
            UserEventKind.RECOVERED,
            "The mail server of a stalled user responds again",
        ),
        EventDefinition(
            EventName.USER_ARCHIVED,
            UserEventKind.ARCHIVED,
            "A user is no longer watched because you answered 403",
            ("reason_code", "reason"),
        ),
        EventDefinition(
            EventName.MAIL_OVERSIZED,
            None,
            "A mail is larger than `MAX_EMAIL_SIZE`, so that no `new_mail` is sent for it",
            ("uid_validity", "uid", "internal_date", "size", "limit", "envelope"),
        ),
        EventDefinition(
            EventName.MAIL_UNREADABLE,
            None,
            "The mail server failed for two days to hand over a mail, but handed over other mails; or the mail was"
            " not found again in a renumbered or another folder. No `new_mail` is sent for it",
            ("message", "uid_validity", "uid", "internal_date", "reason"),
        ),
        EventDefinition(
            EventName.MAIL_FLAGS_CHANGED,
            None,
            "Flags of a mail that had its `new_mail` have changed. Only with `change_events`, as the next two",
            (*_CHANGE, "flags", "added", "removed"),
        ),
        EventDefinition(
            EventName.MAIL_MOVED,
            None,
            "A mail that had its `new_mail` was moved to another watched folder",
            (*_CHANGE, "to_mailbox", "to_message"),
        ),
        EventDefinition(
            EventName.MAIL_DELETED,
            None,
            "A mail that had its `new_mail` was deleted, or moved to a folder that is not watched",
            _CHANGE,
        ),
    )
}
"""Every event by its wire name."""

EVENT_FIELDS = {
    "reason_code": "Reason for programs; one of the codes below",
    "reason": "Reason for people, a sentence; its wording may change",
    "connect_url": "Link where the person signs in again; null if `BASE_URL` is not set",
    "message": "The `id` of the mail in `GET …/users/{tag}/messages`; `POST …/messages/{id}/retry` tries an"
    " unreadable one again",
    "uid_validity": "Identifies the mail together with `uid`, as in `GET …/users/{tag}/messages`",
    "uid": "Identifies the mail together with `uid_validity`",
    "internal_date": "Time at which the mail server received the mail, in UTC",
    "size": "Size of the mail in bytes",
    "limit": "`MAX_EMAIL_SIZE` at that time, in bytes",
    "mail_sha1": "`sha1` of the mail's `new_mail`",
    "mailbox": "Name of the mail's folder",
    "flags": "All flags of the mail now, without `\\Recent`",
    "added": "Flags that the mail did not have before",
    "removed": "Flags that the mail does not have any more",
    "to_mailbox": "Name of the folder that the mail is in now",
    "to_message": "The `id` of the mail in that folder; later events name it as `message`",
    "envelope": "As in `new_mail`; null if the mail server did not send the headers",
}
"""What each field means that only some events have; docs/webhooks.md has the same sentences."""

_NAMES = {event.recorded_as: event.name for event in EVENTS.values() if event.recorded_as is not None}


def event_name(kind: UserEventKind) -> EventName:
    """The wire name of a recorded event."""
    return _NAMES[kind]


def recorded_events_description() -> str:
    """One sentence for each recorded event, for the API description."""
    return " ".join(
        f"`{event.recorded_as}`: {event.sent_when}."
        for event in EVENTS.values()
        if event.recorded_as is not None
    )
