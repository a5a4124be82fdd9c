"""Policy for mail servers that partners and people name: only IMAP's ports, and no plain text. Pure."""

from collections.abc import Mapping
from typing import Any

from superimap.core.config import Settings
from superimap.db.accounts.validation.servers import IMAP_PORT, IMAPS_PORT
from superimap.db.errors import Invalid
from superimap.domain.providers import Tls


def check_mail_server(fields: Mapping[str, Any], settings: Settings) -> None:
    """Raise Invalid for a port or kind of TLS that this installation does not use for others.

    The egress guard checks the address when it is dialled. In development every server is accepted.
    """
    if settings.environment == "development":
        return
    port, tls = fields.get("imap_port"), fields.get("imap_tls")
    ports = (IMAPS_PORT, IMAP_PORT, *settings.imap_ports)
    if port is not None and port not in ports:
        raise Invalid("imap_port", f"must be {' or '.join(map(str, ports))}")
    if tls == Tls.NONE:
        raise Invalid("imap_tls", "must be tls or starttls, so that no password is sent in plain text")
