"""Which mail server may a user have, where the provider leaves that to the person? Pure."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, TypedDict

from superimap.db.errors import Invalid
from superimap.domain.providers import Tls

SERVER = ("imap_host", "imap_port", "imap_tls")
IMAPS, IMAP = 993, 143
"""The two ports of IMAP: with TLS at once (RFC 8314), and with STARTTLS."""


class ServerFields(TypedDict, total=False):
    """A user's own mail server: all three of it, or none."""

    imap_host: str | None
    imap_port: int | None
    imap_tls: str | None


_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


def checked_server(name: str, value: Any) -> Any:
    """One of the three as it is stored; blank is None. Raises Invalid."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if name == "imap_host":
        return _host(str(value).strip())
    if name == "imap_port":
        if not 1 <= value <= 65535:
            raise Invalid(name, f"should be a port from 1 to 65535, mostly {IMAPS}")
        return value
    if value not in list(Tls):
        raise Invalid(name, f"should be one of {', '.join(Tls)}")
    return str(value)


def whole(values: Mapping[str, Any], before: tuple[str | None, int | None, str | None]) -> ServerFields:
    """The server that follows from what is set and what was there: all three of it, or none.

    Without a port it is that of IMAP over TLS. TLS is as usual at the port unless somebody says otherwise; what
    was usual at the port before is as usual at the new one.
    """
    host, port, tls = (values.get(name, was) for name, was in zip(SERVER, before, strict=True))
    if host is None:
        return {"imap_host": None, "imap_port": None, "imap_tls": None}
    port = port or IMAPS
    if "imap_tls" not in values and before[1] is not None and tls == tls_of(before[1]):
        tls = None
    return {"imap_host": host, "imap_port": port, "imap_tls": tls or tls_of(port)}


def tls_of(port: int) -> Tls:
    """How the way to this port is secured, as long as nobody says otherwise."""
    return Tls.STARTTLS if port == IMAP else Tls.TLS


def _host(text: str) -> str:
    """A name in lower case and ASCII, or an address. What it leads to is judged when it is dialled."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        pass
    try:
        name = text.rstrip(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise Invalid(
            "imap_host", "is no name of a server; it should look like imap.example.com, without port"
        )
    return name
