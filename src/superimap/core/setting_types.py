"""Types of settings with their parsers. Errors say what is expected and never show a secret."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from superimap.core.crypto import Vault, VaultError
from superimap.core.postgres_url import connection_arguments

MIN_SECRET_CHARACTERS = 16
MAX_ID_CHARACTERS = 1024

HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
"""A host name or IP address, with or without a port, as in a URL and in the header Host."""
_URL_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(value: object) -> object:
    """Parse comma-separated networks."""
    return tuple(map(_network, _parts(value))) if isinstance(value, str) else value


def parse_names(value: object) -> object:
    """Parse comma-separated names, which may contain blanks."""
    return tuple(_parts(value)) if isinstance(value, str) else value


def parse_ports(value: object) -> object:
    """Parse comma-separated ports."""
    return tuple(map(_port, _parts(value))) if isinstance(value, str) else value


_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\s*=\s*[!-~](?:[ -~]*[!-~])?")
_STORE_URL = re.compile(r"(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9._-]+)*/?")


def check_postgres_url(value: str) -> str:
    """Return the URL of a PostgreSQL server with the scheme `postgresql://`, whose keywords are all supported."""
    if not value.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
        raise ValueError("must be a PostgreSQL URL, such as postgresql://user:password@host:5432/name")
    url = re.sub(r"^postgres(ql\+asyncpg)?://", "postgresql://", value)
    connection_arguments(url)
    return url


def check_optional_postgres_url(value: str) -> str:
    """Return the URL of a PostgreSQL server, or an empty string."""
    return check_postgres_url(value) if value else value


def check_read_url(value: str) -> str:
    """Return the URL of PostgreSQL servers that need not be writable, or an empty string.

    Several hosts are tried in turn; without this keyword only one that can be written is used.
    """
    if "," in value and "target_session_attrs" not in value:
        value = f"{value}{'&' if '?' in value else '?'}target_session_attrs=any"
    return check_optional_postgres_url(value)


def check_redis_url(value: str) -> str:
    """Return the URL of a Valkey or Redis server."""
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must be a Redis URL, such as redis://host:6379/0 or unix:///path.sock")
    try:
        _ = urlsplit(value).port
    except ValueError:
        raise ValueError(
            "has a host or port that is not valid; it must look like redis://host:6379/0"
        ) from None
    return value


def check_base_url(value: str) -> str:
    """Return an HTTP base URL without trailing slashes, or an empty string. It may have a path."""
    if not value:
        return value
    scheme, separator, rest = value.partition("://")
    host, slash, path = rest.rstrip("/").partition("/")
    if scheme not in {"https", "http"} or not separator:
        raise ValueError(
            "must start with https:// (or http:// in development), such as https://superimap.example.com"
        )
    if HOST.fullmatch(host) is None:
        raise ValueError(
            "must name a host after ://, without user name, such as https://superimap.example.com"
        )
    if not is_url_path(slash + path):
        raise ValueError(
            "has a path with other characters than letters, digits, -, ., _, ~ and single slashes; without query, "
            "such as https://example.com/superimap"
        )
    return f"{scheme}://{host}{slash}{path}"


def check_issuer_url(value: str) -> str:
    """Return the issuer of an OpenID provider as it is written, or an empty string.

    It is compared with the provider's own spelling, also a slash at its end (OpenID Connect Discovery 4.3).
    """
    parts = urlsplit(value)
    is_issuer = parts.scheme in {"https", "http"} and parts.hostname and not (parts.query or parts.fragment)
    if value and (not is_issuer or not value.isprintable() or "@" in parts.netloc or " " in value):
        raise ValueError(
            "must be a URL without query and user name, such as https://login.example.com/realms/staff"
        )
    return value


def check_store_url(value: str) -> str:
    """Return the URL of a bucket of an object store, and a folder in it, or an empty string."""
    if value and _STORE_URL.fullmatch(value) is None:
        raise ValueError(
            "must name a bucket, with or without a folder, such as s3://bucket/superimap; credentials and "
            "endpoint are variables of their own (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, "
            "AWS_ENDPOINT_URL)"
        )
    return value.rstrip("/")


def check_collector_url(value: str) -> str:
    """Return the URL of an OTLP/HTTP collector for traces, or an empty string."""
    try:
        parts = urlsplit(value)
        is_whole = parts.scheme in {"https", "http"} and parts.port != 0 and HOST.fullmatch(parts.netloc)
    except ValueError:
        is_whole = None
    if value and (not is_whole or parts.query or parts.fragment or not parts.path.strip("/")):
        raise ValueError(
            "must be the URL of a collector with its path and without user name and query, such as "
            "http://collector:4318/v1/traces"
        )
    return value


def check_headers(value: SecretStr | None) -> SecretStr | None:
    """Check that `name=value` pairs, comma-separated, can be HTTP headers; None is allowed."""
    text = value.get_secret_value() if value else ""
    if text and not all(_HEADER.fullmatch(part) for part in _parts(text)):
        raise ValueError("must be headers as name=value, comma-separated, such as authorization=Bearer …")
    return value


def headers_of(value: SecretStr | None) -> dict[str, str]:
    """Return the headers in a checked setting."""
    pairs = (part.partition("=") for part in _parts(value.get_secret_value() if value else ""))
    return {name.strip(): content.strip() for name, _, content in pairs}


def is_url_path(value: str) -> bool:
    """Whether this is empty or a path such as `/superimap`, of characters that no proxy rewrites."""
    return _URL_PATH.fullmatch(value) is not None


def check_key_ring(value: SecretStr) -> SecretStr:
    """Check that a vault can be built from these keys."""
    try:
        Vault.from_setting(value.get_secret_value())
    except VaultError as error:
        raise ValueError(str(error)) from None
    return value


def check_strong_secret(value: SecretStr | None) -> SecretStr | None:
    """Check that a secret is long enough and fits into an HTTP header; None is allowed."""
    secret = value.get_secret_value() if value else None
    if secret is not None and not _is_strong(secret):
        raise ValueError(
            f"must have {MIN_SECRET_CHARACTERS} or more characters, all printable ASCII; "
            "`openssl rand -hex 32` generates one"
        )
    return value


def check_optional_secret(value: SecretStr | None) -> SecretStr | None:
    """Check that a secret that another system has chosen is printable; None is allowed."""
    if value is not None and not value.get_secret_value().isprintable():
        raise ValueError("must consist of printable characters")
    return value


def check_id_text(value: str) -> str:
    """Return a text that ID may tell a mail server (RFC 2971 section 3.3)."""
    if not value.isascii() or not value.isprintable() or len(value) > MAX_ID_CHARACTERS:
        raise ValueError(f"must have at most {MAX_ID_CHARACTERS} characters, all printable ASCII")
    return value


Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(parse_networks)]
Ports = Annotated[tuple[int, ...], NoDecode, BeforeValidator(parse_ports)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names)]
PostgresUrl = Annotated[str, AfterValidator(check_postgres_url)]
ReadUrl = Annotated[str, AfterValidator(check_read_url)]
OptionalPostgresUrl = Annotated[str, AfterValidator(check_optional_postgres_url)]
RedisUrl = Annotated[str, AfterValidator(check_redis_url)]
CollectorUrl = Annotated[str, AfterValidator(check_collector_url)]
Headers = Annotated[SecretStr | None, AfterValidator(check_headers)]
StoreUrl = Annotated[str, AfterValidator(check_store_url)]
BaseUrl = Annotated[str, AfterValidator(check_base_url)]
KeyRing = Annotated[SecretStr, AfterValidator(check_key_ring)]
IdText = Annotated[str, AfterValidator(check_id_text)]
IssuerUrl = Annotated[str, AfterValidator(check_issuer_url)]
OptionalSecret = Annotated[SecretStr | None, AfterValidator(check_optional_secret)]
StrongSecret = Annotated[SecretStr | None, AfterValidator(check_strong_secret)]


def mask_password(url: str) -> str:
    """Return `url` with its password replaced by `***`, in the authority and in the query."""
    url = re.sub(r"(?<=://)([^:/?#@]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"([?&][^=&#]*password)=[^&#]*", r"\1=***", url, flags=re.IGNORECASE)


def _is_strong(secret: str) -> bool:
    return len(secret) >= MIN_SECRET_CHARACTERS and secret.isascii() and secret.isprintable()


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"contains {text!r}, which is not a network such as 10.0.0.0/8") from None


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError(f"contains {text!r}, which is not a port; write ports as 1993,1143")
    return int(text)
