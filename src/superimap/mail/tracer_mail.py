"""The content of a tracer mail."""

from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime

from superimap.mail import tracer

_NO_ADDRESS = frozenset(' <>"(),:;[]\\')
_TEXT = """\
This is a tracer: SuperIMAP sends it to this mailbox in order to see how long mail takes to arrive.
No application gets it, and nobody needs to answer it.
"""


def build(address: str, token: str, *, now: datetime, message_id: str) -> bytes:
    """Return the bytes of a tracer from and to `address`. Raises ValueError if that is no address in ASCII."""
    if not is_address(address):
        raise ValueError("the mailbox has no address that a mail can be sent to")
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"] = address
    mail["To"] = address
    mail["Subject"] = f"{tracer.SUBJECT_PREFIX.decode()}{token}"
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = message_id
    mail[tracer.HEADER.decode()] = token
    mail["Auto-Submitted"] = "auto-generated"  # no answers of absent people (RFC 3834)
    mail["X-Auto-Response-Suppress"] = "All"  # the same, for Exchange
    mail.set_content(_TEXT)
    return mail.as_bytes()


def is_address(text: str) -> bool:
    """Whether a mail can be sent to this address without SMTPUTF8."""
    local, at, host = text.partition("@")
    return (
        bool(local and at and host) and text.isascii() and text.isprintable() and not _NO_ADDRESS & set(text)
    )
