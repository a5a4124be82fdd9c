"""The path under which the API is published: a prefix that a reverse proxy strips, or passes on. Pure."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from superimap.core.setting_types import is_url_path

PREFIX = "superimap.prefix"
"""Name of the prefix in the ASGI scope: empty, or a path such as `/superimap`."""

OWN_SEGMENTS = frozenset(
    {"", "admin", "api", "docs", "healthz", "openapi.json", "operators", "portal", "readyz", "users"}
    | {"webhook_test"}
)
"""First segments of our own paths."""


def public_prefix(headers: Headers, base_url: str, *, is_trusted: bool) -> str | None:
    """Return the path of BASE_URL. Without BASE_URL: what a trusted proxy sent as X-Forwarded-Prefix.

    Each of several proxies adds the part that it strips: the values are joined. None if that is not a path.
    """
    if base_url:
        return urlsplit(base_url).path
    lines = ",".join(headers.getlist("x-forwarded-prefix")) if is_trusted else ""
    prefix = "".join(part.strip().rstrip("/") for part in lines.split(","))
    return prefix if is_url_path(prefix) else None


def without_prefix(path: str, prefix: str) -> str:
    """Return the path as our routes know it, whether or not the proxy has stripped the prefix.

    The prefix may look like a path of ours (`/api`): it is cut only where a path of ours remains.
    """
    rest = path.removeprefix(prefix)
    if not prefix or rest == path or rest[:1] not in ("", "/"):
        return path
    return (rest or "/") if rest[1:].partition("/")[0] in OWN_SEGMENTS else path
