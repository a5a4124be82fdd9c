"""What may the text of a setting be, and what does it mean? A fault says what would do, and shows no secret."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from superimap.core.crypto import Vault, VaultError

LEAST_SECRET = 16
"""Characters."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(value: object) -> object:
    """Networks out of a text with commas."""
    return tuple(map(_network, _parts(value))) if isinstance(value, str) else value


def ports(value: object) -> object:
    """Ports out of a text with commas."""
    return tuple(map(_port, _parts(value))) if isinstance(value, str) else value


def postgres_url(value: str) -> str:
    """The address of a PostgreSQL, in the one spelling that asyncpg knows."""
    if not value.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
        raise ValueError(
            "is no PostgreSQL address; it should look like postgresql://user:password@host:5432/name"
        )
    return re.sub(r"^postgres(ql\+asyncpg)?://", "postgresql://", value)


def redis_url(value: str) -> str:
    """The address of a Valkey or Redis."""
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("is no Redis address; it should look like redis://host:6379/0 or unix:///path.sock")
    return value


def base_url(value: str) -> str:
    """Where something begins on the web, or nothing."""
    if value and not value.startswith(("https://", "http://")):
        raise ValueError(
            "should start with https:// (or http:// in development), such as https://superimap.example.com"
        )
    return value.rstrip("/")


def key_ring(value: SecretStr) -> SecretStr:
    """Keys that a vault can be made of."""
    try:
        Vault.from_setting(value.get_secret_value())
    except VaultError as error:
        raise ValueError(str(error)) from None
    return value


def hard_to_guess(value: SecretStr | None) -> SecretStr | None:
    """A secret that can stand in a header, or none."""
    secret = value.get_secret_value() if value else None
    if secret is not None and not _is_hard_to_guess(secret):
        raise ValueError(
            f"should have {LEAST_SECRET} characters or more, all ASCII; `openssl rand -hex 32` makes one"
        )
    return value


Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(networks)]
Ports = Annotated[tuple[int, ...], NoDecode, BeforeValidator(ports)]
PostgresUrl = Annotated[str, AfterValidator(postgres_url)]
RedisUrl = Annotated[str, AfterValidator(redis_url)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
KeyRing = Annotated[SecretStr, AfterValidator(key_ring)]
HardToGuess = Annotated[SecretStr | None, AfterValidator(hard_to_guess)]


def mask_password(url: str) -> str:
    """`url` with its password replaced by `***`, also when it stands in the query."""
    url = re.sub(r"(?<=://)([^:/?#@]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"([?&][^=&#]*password)=[^&#]*", r"\1=***", url, flags=re.IGNORECASE)


def _is_hard_to_guess(secret: str) -> bool:
    return len(secret) >= LEAST_SECRET and secret.isascii() and secret.isprintable()


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"holds {text!r}, which is no network; it should look like 10.0.0.0/8") from None


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError(f"holds {text!r}, which is no port; it should look like 1993,1143")
    return int(text)
