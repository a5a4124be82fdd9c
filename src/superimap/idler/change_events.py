"""Events about changes of mails: their payloads, sealed for the rows of their deliveries."""

from datetime import datetime

from superimap.core.crypto import Place
from superimap.core.ids import uuid7
from superimap.db.watching.changes import EventDelivery, MailCopy
from superimap.domain.events import EventName
from superimap.domain.mail_changes import MailChange
from superimap.idler.scope import ConnectionScope
from superimap.webhooks import payload


def event_delivery(
    scope: ConnectionScope,
    change: MailChange,
    copy: MailCopy | None,
    *,
    mailbox: str,
    uid_validity: int,
    happened_at: datetime,
) -> EventDelivery:
    """Return the webhook about a change. `copy` is where a mail is that is gone; None if it was deleted."""
    mail = change.mail
    values: dict[str, object] = {
        "message": mail.message,
        "mail_sha1": mail.sha1,
        "uid_validity": uid_validity,
        "uid": mail.uid,
        "mailbox": mailbox,
    }
    if not change.is_gone:
        name = EventName.MAIL_FLAGS_CHANGED
        values |= {"flags": change.flags, "added": change.added, "removed": change.removed}
    elif copy is not None:
        name = EventName.MAIL_MOVED
        values |= {"to_mailbox": copy.mailbox, "to_message": copy.message}
    else:
        name = EventName.MAIL_DELETED
    watched, delivery_id = scope.watched, uuid7()
    content = payload.mail_change(
        name,
        user_tag=watched.tag,
        imap_provider_code=watched.provider_code,
        happened_at=happened_at,
        values=values,
    )
    place = Place("deliveries", "content", watched.partner_id, str(delivery_id))
    return EventDelivery(delivery_id, scope.context.vault.seal_compressed(content, place))
