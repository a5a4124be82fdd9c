"""Rules for URLs that partners set: webhook and redirect URLs, and the origins that people may return to."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from superimap.core.errors import SuperImapError

MAX_URL_CHARACTERS = 2048
EXAMPLE_URL = "https://app.example.com/hook"
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class UrlError(SuperImapError):
    """A URL is not allowed. `field` names its setting; `reason` says why, and what is allowed."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field} {self.reason}"


@dataclass(frozen=True, slots=True)
class Destination:
    """What a request to a URL is sent to. `host` is in lower case and without brackets.

    `authority` is the value of the header `Host`, and `target` that of the request line: path and query exactly as
    they stand in the URL.
    """

    scheme: str
    host: str
    port: int
    authority: str
    target: str


def destination(url: str, *, field: str = "url") -> Destination:
    """Return where requests to `url` are sent. Raises UrlError for exactly the URLs that `check_url` refuses."""
    parts = _split(url, field, https_only=False)
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    target = url[len(parts.scheme) + len("://") + len(parts.netloc) :]
    return Destination(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=port,
        authority=_origin(parts).partition("://")[2],
        target=target if target.startswith("/") else f"/{target}",
    )


def check_url(url: str, *, field: str, https_only: bool = False) -> str:
    """Return `url` if every parser reads it the same way; raise UrlError otherwise.

    The address of the host is not checked here: the egress guard checks each address when it is dialled.
    """
    _split(url, field, https_only=https_only)
    return url


def check_origin(url: str, *, field: str, https_only: bool = False) -> str:
    """Return `url` as browsers write an origin: scheme, host, and the port unless it is the scheme's default.

    Raises UrlError if it is not an origin.
    """
    parts = _split(url, field, https_only=https_only)
    if parts.path not in ("", "/") or parts.query:
        raise UrlError(field, "is more than an origin; leave the path out, as in https://app.example.com")
    return _origin(parts)


def origin_of(url: str) -> str:
    """The origin of a URL that `check_url` has accepted."""
    return _origin(urlsplit(url))


def _origin(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    if ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _split(url: str, field: str, *, https_only: bool) -> SplitResult:
    """Split a URL, and raise UrlError for anything on which two parsers could disagree."""
    _check_characters(url, field)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlError(field, f"is not a URL; it must look like {EXAMPLE_URL}") from None
    if parts.scheme not in ("http", "https"):
        raise UrlError(field, f"must begin with https:// or http://, as in {EXAMPLE_URL}")
    if https_only and parts.scheme == "http":
        raise UrlError(field, "must begin with https://; plain http:// is for ENVIRONMENT=development")
    if "@" in parts.netloc:
        raise UrlError(field, "contains a user name or password; put a secret into the path or query instead")
    if "#" in url:
        raise UrlError(field, "contains a fragment, which is never sent; leave out # and what follows")
    if port == 0 or parts.netloc.endswith(":") or not _is_host(parts):
        raise UrlError(field, f"has no host that can be connected to; it must look like {EXAMPLE_URL}")
    return parts


def _check_characters(url: str, field: str) -> None:
    if len(url) > MAX_URL_CHARACTERS:
        raise UrlError(field, f"is longer than {MAX_URL_CHARACTERS} characters; give a shorter one")
    if any(character <= " " or character == "\x7f" for character in url):
        raise UrlError(field, "contains a space, line break or control character; percent-encode it")
    if not url.isascii():
        raise UrlError(
            field, "contains characters beyond ASCII; percent-encode them, and write the host as xn--…"
        )
    if any(character in url for character in '\\"<>^`{|}'):
        raise UrlError(field, 'contains one of \\ " < > ^ ` { | }; percent-encode it')


def _is_host(parts: SplitResult) -> bool:
    """An IPv6 address in brackets, or dotted labels; no zone, no percent-encoding."""
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            return ipaddress.IPv6Address(host).scope_id is None
        except ValueError:
            return False
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):  # resolvers read 127.1, 0x7f.1 and 2130706433 as IPv4 addresses
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def shown_url(url: str | None, *, is_whole: bool) -> str | None:
    """Return the URL as it is shown; without `is_whole` only its origin, because the rest often holds a token."""
    if url is None or is_whole:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"
