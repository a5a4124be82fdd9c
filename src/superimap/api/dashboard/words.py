"""Words and tones of states, as pages show them."""

from typing import NamedTuple

from superimap.domain.deliveries import DeliveryState
from superimap.domain.mails import MailOutcome
from superimap.domain.tracers import TracerHealth, TracerVerdict
from superimap.domain.users import UserStatus
from superimap.domain.watch_notes import seconds_between_rounds


class Word(NamedTuple):
    """A state in words; `tone` is good, bad, warn or empty."""

    text: str
    tone: str = ""


STATUSES = {
    UserStatus.NOT_CONNECTED: Word("not connected"),
    UserStatus.CONNECTING: Word("connecting", "warn"),
    UserStatus.CATCHING_UP: Word("catching up", "warn"),
    UserStatus.WATCHING: Word("watched", "good"),
    UserStatus.BACKING_OFF: Word("session fails", "bad"),
    UserStatus.THROTTLED: Word("server asks for a pause", "warn"),
    UserStatus.SUSPENDED: Word("suspended", "bad"),
    UserStatus.AUTHENTICATION_FAILED: Word("must sign in again", "bad"),
    UserStatus.STALLED: Word("no answer from the server", "bad"),
    UserStatus.ARCHIVED: Word("archived"),
}
_STATUS_SENTENCES = {
    UserStatus.NOT_CONNECTED: "Nobody has connected this mailbox yet: send the person the connect link.",
    UserStatus.CONNECTING: "The session is being established.",
    UserStatus.CATCHING_UP: "The session is established and reads what has arrived meanwhile.",
    UserStatus.WATCHING: "The session is open: a new mail is seen within a second.",
    UserStatus.BACKING_OFF: "The session with the mail server fails: the connection, the sign-in, or what is "
    "asked then. It is tried again with growing pauses.",
    UserStatus.THROTTLED: "The mail server asked for a pause.",
    UserStatus.SUSPENDED: "The mail server sends more than a mail server may. The session is paused.",
    UserStatus.AUTHENTICATION_FAILED: "The mail server refuses the sign-in: the person must connect again.",
    UserStatus.STALLED: "The mail server has given no sign of life for minutes.",
    UserStatus.ARCHIVED: "Nobody watches this mailbox. Restoring it reads what has arrived meanwhile.",
}
SLOW_ROUND_SECONDS = 5
"""Interval of polls above which a mail is seen late."""


def status_verdict(status: str, reason: str | None, *, has_signed_in: bool = False) -> Word:
    """Return what a status means for the mails of a mailbox. `has_signed_in`: since the status began."""
    tone = STATUSES[UserStatus(status)].tone
    if status == UserStatus.WATCHING and (seconds := seconds_between_rounds(reason)) is not None:
        text = f"The session is open, and asks for new mail: it is seen within {seconds} s."
        return Word(text, "warn" if seconds > SLOW_ROUND_SECONDS else tone)
    if status == UserStatus.BACKING_OFF and has_signed_in:
        return Word(
            "The mail server accepts the sign-in, but the mailbox cannot be read. The session is tried again with "
            "growing pauses.",
            tone,
        )
    return Word(_STATUS_SENTENCES[UserStatus(status)], tone)


DELIVERY_STATES = {
    DeliveryState.PENDING: Word("waiting", "warn"),
    DeliveryState.SENDING: Word("being sent", "warn"),
    DeliveryState.DELIVERED: Word("delivered", "good"),
    DeliveryState.FAILED: Word("failed", "bad"),
    DeliveryState.CANCELLED: Word("cancelled"),
}
OUTCOMES = {
    MailOutcome.DELIVERED: Word("webhook", "good"),
    MailOutcome.DUPLICATE: Word("duplicate"),
    MailOutcome.BEFORE_CONNECT: Word("before connecting"),
    MailOutcome.TOO_BIG: Word("too big", "bad"),
    MailOutcome.TRACER: Word("tracer"),
    MailOutcome.OWN_MAIL: Word("own mail"),
    MailOutcome.UNREADABLE: Word("unreadable", "bad"),
    MailOutcome.GONE: Word("gone", "warn"),
    MailOutcome.NO_WEBHOOK: Word("no webhook URL", "warn"),
    MailOutcome.DEFERRED: Word("read again later", "warn"),
}
TRACER_HEALTH = {
    TracerHealth.FINE: Word("fine", "good"),
    TracerHealth.LATE: Word("late", "warn"),
    TracerHealth.FAILING: Word("failing", "bad"),
    TracerHealth.UNCHECKED: Word("not checked"),
}
TRACER_VERDICTS = {
    TracerVerdict.DETECTED: Word("in time", "good"),
    TracerVerdict.LATE: Word("late", "warn"),
    TracerVerdict.MISSING: Word("missing", "bad"),
    TracerVerdict.UNSENDABLE: Word("not sent"),
}
ERRORS = {
    "egress_blocked": "its address is not allowed",
    "url": "its URL is not valid",
    "dns": "its host name has no address",
    "tls": "TLS failed",
    "connect": "it could not be reached",
    "closed": "it closed the connection",
    "timeout": "it did not answer in time",
    "protocol": "its answer was not HTTP",
    "certificate_untrusted": "its certificate is not trusted",
    "certificate_expired": "its certificate is not valid at this time",
    "certificate_host": "its certificate is for another host",
    "no_url": "its URL was removed",
}
"""Why an attempt had no answer; "it" is the application."""
