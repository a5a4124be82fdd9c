"""DATABASE_URL: the libpq keywords that are supported, and the arguments of a connection.

Hosting providers print URLs for libpq. A keyword is either supported here or rejected when the settings are read:
asyncpg would send an unknown one to the server, which refuses each connection without naming DATABASE_URL.
Source: PostgreSQL documentation, section 34.1.2, Parameter Key Words.
"""

import os
import re
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

CONNECT_TIMEOUT_SECONDS = 5.0
"""Time for opening a connection to one host, if the URL has no `connect_timeout`."""
MAX_CONNECT_TIMEOUT_SECONDS = 60.0

MAX_PORT = 65535

_PLACE = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]*)(?::(?P<port>[^:]*))?")
_PASSED_ON = frozenset({
    "host", "port", "user", "password", "dbname", "passfile", "krbsrvname", "gsslib", "target_session_attrs",
    "sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslnegotiation",
    "ssl_min_protocol_version", "ssl_max_protocol_version",
})  # fmt: skip
_FILES = ("sslcert", "sslkey", "sslcrl", "sslrootcert", "passfile")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_WRITABLE = ("any", "primary", "read-write")

# Keywords with a value that changes nothing here, and what to do about any other value.
_FIXED = {
    "channel_binding": (
        ("disable", "prefer"),
        "the driver has no channel binding; use sslmode=verify-full, with which `require` is accepted",
    ),
    "gssencmode": (("disable", "prefer"), "the driver has no GSSAPI encryption; remove it and use sslmode"),
    "sslcompression": (("0",), "TLS compression is not supported; remove it"),
    "client_encoding": (("utf8", "utf-8", "auto"), "the encoding is always UTF-8; remove it"),
}
_ADVICE = {
    "keepalives": "SuperIMAP tests its connections itself; remove it",
    "keepalives_idle": "SuperIMAP tests its connections itself; remove it",
    "keepalives_interval": "SuperIMAP tests its connections itself; remove it",
    "keepalives_count": "SuperIMAP tests its connections itself; remove it",
    "tcp_user_timeout": "SuperIMAP tests its connections itself; remove it",
    "hostaddr": "name the address as the host",
    "service": "write out what the service file contains",
    "pgbouncer": "the mode of a pooler is found without it; remove it",
}


@dataclass(frozen=True, slots=True)
class ConnectionArguments:
    """Arguments of asyncpg for one URL: a DSN for each of its hosts; `timeout` is in seconds, for one host."""

    dsns: tuple[str, ...]
    timeout: float = CONNECT_TIMEOUT_SECONDS
    server_settings: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None


@lru_cache(maxsize=8)
def connection_arguments(url: str) -> ConnectionArguments:
    """Return what a connection needs. Raises ValueError, which says what is wrong and what to do.

    The text contains no value of the URL, which may be a secret.
    """
    parts = _split(url)
    _check_places(parts.netloc, parts.path, parts.query, parts.fragment)
    words = _keywords(parts.query)
    _check_hosts(parts.netloc, words)
    _check_files(words)
    _check_values(words)
    tls = ssl.create_default_context() if words.get("sslrootcert") == "system" else None
    passed_on = {word: value for word, value in words.items() if word in _PASSED_ON}
    if tls is not None:
        passed_on = {word: value for word, value in passed_on.items() if not word.startswith("ssl")}
    hosts = words.get("host") or parts.netloc.rpartition("@")[2]
    if "," in hosts:
        passed_on.setdefault("target_session_attrs", "read-write")
    settings: dict[str, str] = {
        word: words[word] for word in ("options", "application_name") if word in words
    }
    settings.setdefault("application_name", words.get("fallback_application_name", "superimap"))
    dsns = tuple(
        urlunsplit(("postgresql", netloc, parts.path, urlencode(passed_on | place), ""))
        for netloc, place in _hosts(parts.netloc, words)
    )
    return ConnectionArguments(dsns, _timeout(words.get("connect_timeout")), settings, tls)


def _hosts(netloc: str, words: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Return the part before the path, and the keywords `host` and `port`, for each host of a URL."""
    if "," not in words.get("host", ""):
        login, at, places = netloc.rpartition("@")
        return [(f"{login}{at}{place}", {}) for place in places.split(",")]
    hosts, ports = words["host"].split(","), words.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise ValueError("has another number of ports than of hosts")
    return [
        (netloc, {"host": host} | ({"port": port} if port else {}))
        for host, port in zip(hosts, ports, strict=True)
    ]


def _split(url: str) -> SplitResult:
    """As `urlsplit`, which takes no IPv6 address behind another host since Python 3.11.10."""
    before, separator, behind = url.partition("://")
    netloc = re.split("[/?#]", behind, maxsplit=1)[0] if separator else ""
    if netloc.count("[") != netloc.count("]"):
        raise ValueError("has brackets without a pair; write an IPv6 address as [::1]")
    return urlsplit(before + separator + behind[len(netloc) :])._replace(netloc=netloc)


def _check_places(netloc: str, path: str, query: str, fragment: str) -> None:
    """Reject a user or password with characters that end it."""
    if (
        netloc.count("@") > 1
        or "@" in path
        or fragment
        or ("@" in query and "=" not in query.split("@", 1)[0])
    ):
        raise ValueError(
            "has a character in the user or password that must be written as %40 (@), %2F (/), %3A (:), %23 (#) "
            "or %3F (?)"
        )


def _check_hosts(netloc: str, words: dict[str, str]) -> None:
    """Reject hosts and ports to which no connection can be made: the driver has no error of its own for these."""
    places = [_PLACE.fullmatch(place) for place in netloc.rpartition("@")[2].split(",")]
    hosts = [unquote(place["host"]) for place in places if place]
    ports = [place["port"] or "" for place in places if place]
    hosts_of_query, ports_of_query = (words.get(word, "").split(",") for word in ("host", "port"))
    is_empty = any(len(each) > 1 and not all(each) for each in (hosts, hosts_of_query))
    are_valid = all(map(_is_host, hosts + hosts_of_query)) and all(map(_is_port, ports + ports_of_query))
    if is_empty or not are_valid or None in places:
        raise ValueError("has a host or port that cannot be connected to; they look like db.example.com:5432")


def _is_host(text: str) -> bool:
    """Whether this is a path, or a name or address that can be looked up; empty is the default host."""
    try:
        return text.startswith("/") or text.encode("idna") is not None
    except UnicodeError:  # a label is empty or too long
        return False


def _is_port(text: str) -> bool:
    return not text or (re.fullmatch("[0-9]{1,5}", text) is not None and 0 < int(text) <= MAX_PORT)


def _keywords(query: str) -> dict[str, str]:
    try:
        words = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
    except ValueError:
        raise ValueError("has a part after ? that is not keyword=value") from None
    if "database" in words:  # asyncpg's name for it
        words.setdefault("dbname", words.pop("database"))
    known = _PASSED_ON | _FIXED.keys() | {
        "options", "application_name", "fallback_application_name", "connect_timeout",
    }  # fmt: skip
    for word in words:
        if word not in known:
            name = word if re.fullmatch(r"[A-Za-z_.]{1,40}", word) else "keyword"
            advice = _ADVICE.get(
                word, f"set a parameter of the server by options=-c%20{name}%3Dvalue, or remove it"
            )
            raise ValueError(f"contains {name}, which is not supported: {advice}")
    return words


def _check_files(words: dict[str, str]) -> None:
    for word in _FILES:
        path = words.get(word)
        if path and not (word == "sslrootcert" and path == "system") and not os.access(path, os.R_OK):
            raise ValueError(
                f"names a file as {word} that cannot be read; correct the path or its permissions"
            )


def _check_values(words: dict[str, str]) -> None:
    mode = words.get("sslmode")
    if mode is not None and mode not in _SSL_MODES:
        raise ValueError(f"has a wrong sslmode; it must be one of {', '.join(_SSL_MODES)}")
    if words.get("sslrootcert") == "system" and mode != "verify-full":
        raise ValueError("has sslrootcert=system, which needs sslmode=verify-full")
    for word, (allowed, advice) in _FIXED.items():
        is_safe = word == "channel_binding" and words.get(word) == "require" and mode == "verify-full"
        if word in words and words[word].lower() not in allowed and not is_safe:
            raise ValueError(f"has a {word} that is not supported: {advice}")
    if words.get("target_session_attrs", "any") not in _WRITABLE:
        raise ValueError(
            "has a target_session_attrs that is not supported: SuperIMAP writes; use read-write, primary or any"
        )


def _timeout(text: str | None) -> float:
    """Return `connect_timeout` in seconds; as in libpq, 0 is no limit, for which ours stands."""
    if text is None:
        return CONNECT_TIMEOUT_SECONDS
    if not text.isascii() or not text.isdecimal():
        raise ValueError("has a connect_timeout that is not a whole number of seconds")
    return min(float(text) or CONNECT_TIMEOUT_SECONDS, MAX_CONNECT_TIMEOUT_SECONDS)
