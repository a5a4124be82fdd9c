"""Which URLs may a partner give us? Webhook and redirect URLs, and the origins people may return to."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from superimap.core.errors import SuperImapError

MAX_URL_CHARACTERS = 2048
EXAMPLE_URL = "https://app.example.com/hook"
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class UrlError(SuperImapError):
    """A URL will not do. `field` names it; `reason` says why and what would do."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field} {self.reason}"


def check_url(url: str, *, field: str, https_only: bool = False) -> str:
    """`url` itself if every parser reads it alike; UrlError otherwise.

    Says nothing about where the host leads: the egress guard judges the address that is dialled.
    """
    _split(url, field, https_only=https_only)
    return url


def check_origin(url: str, *, field: str, https_only: bool = False) -> str:
    """`url` as a browser writes an origin: scheme, host, and the port unless it is the scheme's own."""
    parts = _split(url, field, https_only=https_only)
    if parts.path not in ("", "/") or parts.query:
        raise UrlError(field, "is more than an origin; leave the path out, such as https://app.example.com")
    return _origin(parts)


def origin_of(url: str) -> str:
    """The origin of a URL that `check_url` let pass."""
    return _origin(urlsplit(url))


def _origin(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    if ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _split(url: str, field: str, *, https_only: bool) -> SplitResult:
    """The parts of a URL without anything on which two parsers could disagree."""
    _check_characters(url, field)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlError(field, f"is no URL; it should look like {EXAMPLE_URL}") from None
    if parts.scheme not in ("http", "https"):
        raise UrlError(field, f"should begin with https:// or http://, such as {EXAMPLE_URL}")
    if https_only and parts.scheme == "http":
        raise UrlError(field, "should begin with https://; plain http:// is for ENVIRONMENT=development")
    if "@" in parts.netloc:
        raise UrlError(field, "holds a user name or password; put a secret into the path or query instead")
    if "#" in url:
        raise UrlError(field, "holds a fragment, which is never sent; leave out # and what follows")
    if port == 0 or parts.netloc.endswith(":") or not _is_host(parts):
        raise UrlError(field, f"names no host that can be dialled; it should look like {EXAMPLE_URL}")
    return parts


def _check_characters(url: str, field: str) -> None:
    if len(url) > MAX_URL_CHARACTERS:
        raise UrlError(field, f"is longer than {MAX_URL_CHARACTERS} characters; give a shorter one")
    if any(character <= " " or character == "\x7f" for character in url):
        raise UrlError(field, "holds a space, line break or control character; percent-encode it")
    if not url.isascii():
        raise UrlError(
            field, "holds characters beyond ASCII; percent-encode them, and write the host as xn--…"
        )
    if any(character in url for character in '\\"<>^`{|}'):
        raise UrlError(field, 'holds one of \\ " < > ^ ` { | }; percent-encode it')


def _is_host(parts: SplitResult) -> bool:
    """An IPv6 address in brackets, or dotted labels; no zone, no percent-encoding."""
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            return ipaddress.IPv6Address(host).scope_id is None
        except ValueError:
            return False
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(
        labels[-1]
    ):  # an IPv4 address, then; resolvers read 127.1, 0x7f.1 and 2130706433 as one
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
