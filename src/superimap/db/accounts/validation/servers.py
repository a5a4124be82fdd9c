"""Fields of a user's own mail server, for providers that leave the server to the person (`host_by_user`)."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, TypedDict

from superimap.db.errors import Invalid
from superimap.domain.mail_accounts import ascii_name
from superimap.domain.providers import Tls

SERVER_FIELDS = ("imap_host", "imap_port", "imap_tls")
IMAPS_PORT, IMAP_PORT = 993, 143
"""Standard ports of IMAP: with TLS from the first byte (RFC 8314), and with STARTTLS."""


class ServerFields(TypedDict, total=False):
    """A user's own mail server: all three fields are set, or none."""

    imap_host: str | None
    imap_port: int | None
    imap_tls: str | None


_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


def validate_server_field(name: str, value: Any) -> Any:
    """Return one of the three fields as it is stored; blank becomes None. Raises Invalid."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if name == "imap_host":
        return _host(str(value).strip())
    if name == "imap_port":
        if not 1 <= value <= 65535:
            raise Invalid(name, f"must be a port from 1 to 65535, usually {IMAPS_PORT}")
        return value
    if value not in list(Tls):
        raise Invalid(name, f"must be one of {', '.join(Tls)}")
    return str(value)


def complete_server(
    values: Mapping[str, Any], before: tuple[str | None, int | None, str | None]
) -> ServerFields:
    """Combine the new values with the server `before` (host, port, TLS) into all three fields, or none.

    The default port is that of IMAP over TLS, and TLS defaults to what is usual at the port. If the TLS before
    was the default of the port before, a new port gets its own default too.
    """
    host, port, tls = (values.get(name, was) for name, was in zip(SERVER_FIELDS, before, strict=True))
    if host is None:
        return {"imap_host": None, "imap_port": None, "imap_tls": None}
    port = port or IMAPS_PORT
    if "imap_tls" not in values and before[1] is not None and tls == default_tls(before[1]):
        tls = None
    return {"imap_host": host, "imap_port": port, "imap_tls": tls or default_tls(port)}


def default_tls(port: int) -> Tls:
    """Transport security that is usual at this port: STARTTLS at 143, TLS at every other port."""
    return Tls.STARTTLS if port == IMAP_PORT else Tls.TLS


def _host(text: str) -> str:
    """Return a host name in lower-case ASCII (IDNA), or an IP address. The egress guard checks it later."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        pass
    try:
        name = ascii_name(text)
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise Invalid("imap_host", "must be a host name without port, such as imap.example.com")
    return name
