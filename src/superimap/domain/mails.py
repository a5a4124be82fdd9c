"""Mails: the outcomes that a seen mail can have."""

from enum import StrEnum


class MailOutcome(StrEnum):
    """What became of a mail that was seen."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    BEFORE_CONNECT = "before_connect"
    TOO_BIG = "too_big"
    TRACER = "tracer"
    OWN_MAIL = "own_mail"
    UNREADABLE = "unreadable"
    GONE = "gone"
    NO_WEBHOOK = "no_webhook"
