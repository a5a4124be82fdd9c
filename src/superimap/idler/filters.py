"""Which mails are recorded without a webhook, and why?"""

from datetime import datetime

from superimap.domain.mails import MailOutcome
from superimap.imap.types import MessageMeta

_OWN = {"\\sent", "\\draft", "\\drafts"}


def skip_reason(
    meta: MessageMeta, *, by_date: bool, connected_at: datetime, max_size: int
) -> tuple[MailOutcome, str] | None:
    """Why this mail gets no webhook, or None if it does.

    `by_date` says that it was found by date, without a cursor: then what is older than the connection is
    not news. A mail found by its UID is news however old its date (it was moved or imported).
    """
    if by_date and meta.internal_date < connected_at.replace(microsecond=0):
        return (
            MailOutcome.BEFORE_CONNECT,
            f"arrived before the user was connected ({connected_at:%Y-%m-%d %H:%M:%S}Z)",
        )
    labels = {label.lower() for label in meta.labels}
    if labels & _OWN and "\\inbox" not in labels:
        return MailOutcome.OWN_MAIL, "sent by the user, or a draft"
    if meta.size > max_size:
        return MailOutcome.TOO_BIG, f"{meta.size} bytes; MAX_EMAIL_SIZE is {max_size}"
    return None
