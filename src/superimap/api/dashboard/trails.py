"""Breadcrumbs: the pages above a page, each with its name and its path."""

from collections.abc import Sequence
from typing import TypeAlias

from superimap.db.models import Connection, Partner, Provider
from superimap.db.monitoring.mailbox_lists import MailboxSeen

Trail: TypeAlias = Sequence[tuple[str, str]]


def partner_path(partner_id: int) -> str:
    """Return the path of a partner's page."""
    return f"/partners/{partner_id}"


def connection_path(partner_id: int, connection_id: int) -> str:
    """Return the path of a connection's page."""
    return f"/partners/{partner_id}/connections/{connection_id}"


def mailbox_path(user_id: int) -> str:
    """Return the path of a mailbox's page."""
    return f"/mailboxes/{user_id}"


def partner_trail(partner: Partner) -> Trail:
    """Partners / name."""
    return [("Partners", "/partners"), (partner.name, partner_path(partner.id))]


def connection_trail(partner: Partner, connection: Connection, provider: Provider) -> Trail:
    """Partners / name / Connections / CODE."""
    path = connection_path(partner.id, connection.id)
    all_of_partner = f"{partner_path(partner.id)}/connections"
    return [*partner_trail(partner), ("Connections", all_of_partner), (provider.code, path)]


def mailboxes_trail(partner: Partner, connection: Connection, provider: Provider) -> Trail:
    """Partners / name / Connections / CODE / Mailboxes."""
    above = connection_trail(partner, connection, provider)
    return [*above, ("Mailboxes", f"{above[-1][1]}#mailboxes")]


def mailbox_trail(seen: MailboxSeen, *, is_portal: bool = False) -> Trail:
    """Partners / name / Connections / CODE / Mailboxes / email; in a portal Mailboxes / email."""
    own = (seen.name, mailbox_path(seen.user.id))
    if is_portal:
        return [("Mailboxes", "/mailboxes"), own]
    return [*mailboxes_trail(seen.partner, seen.connection, seen.provider), own]
