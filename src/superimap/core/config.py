"""What can be set: one frozen `Settings`, read from the environment once, passed in from `main`."""

import ipaddress
import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from superimap.core.config_values import (
    BaseUrl,
    HardToGuess,
    KeyRing,
    Network,
    Networks,
    Ports,
    PostgresUrl,
    RedisUrl,
    mask_password,
)
from superimap.core.crypto import Vault
from superimap.core.errors import SuperImapError


class SettingsError(SuperImapError):
    """A setting is missing or wrong; the text has one line per variable, each with what would do."""


class Settings(BaseSettings):
    """Every setting of every process. Field descriptions are the operators' documentation."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, populate_by_name=True
    )

    environment: Literal["production", "development"] = Field(
        "production",
        description="`development` allows plain HTTP and loopback addresses; `production` refuses both.",
    )
    database_url: PostgresUrl = Field(
        repr=False, description="PostgreSQL, the truth: `postgresql://user:password@host:5432/superimap`."
    )
    redis_url: RedisUrl = Field(
        "redis://localhost:6379/0",
        repr=False,
        description="Valkey or Redis, the doorbell: `redis://host:6379/0` or `unix:///path.sock`.",
    )
    encryption_key: KeyRing = Field(
        description="One or more base64 keys of 32 bytes, comma-separated; the first encrypts, all decrypt. "
        "`superimap generate-key` makes one.",
    )
    operator_key: HardToGuess = Field(
        None,
        description="Secret of 16 characters or more with which operators ask the API for `/operators/cluster`; "
        "empty: there is no such address.",
    )
    host: str = Field("127.0.0.1", description="Address on which the API listens.")
    port: int = Field(8000, ge=0, le=65535, description="Port on which the API listens; 0 takes a free one.")
    base_url: BaseUrl = Field(
        "",
        description="Public address of the API, such as `https://superimap.example.com`; connect links start "
        "with it. Empty: taken from each request, and events carry no link.",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Networks whose `X-Forwarded-*` headers are believed, comma-separated.",
    )
    health_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port for /healthz, /readyz and /metrics of an idler or dispatcher; 0 opens none.",
    )
    health_host: str = Field("127.0.0.1", description="Address on which HEALTH_PORT listens.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    log_format: Literal["text", "json"] = Field("text", description="`json` gives one object per line.")
    database_pool_size: int = Field(
        10,
        ge=2,
        le=500,
        description="Connections in a process's database pool; an idler holds three more, a dispatcher one.",
    )

    max_sessions: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        validation_alias=AliasChoices("MAX_SESSIONS", "MAX_USER_THREADS", "max_sessions"),
        description="IMAP sessions that one idler holds at most. `MAX_USER_THREADS` means the same.",
    )
    max_email_size: int = Field(
        1_048_576,
        ge=1,
        le=64 * 1024 * 1024,
        description="Bytes; a larger mail is recorded as `too_big` and not sent.",
    )
    bytes_in_flight: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of mail that an idler holds in memory at once.",
    )
    connects_in_flight: int = Field(
        50, ge=1, le=10_000, description="Handshakes and logins that an idler has under way at once."
    )
    logins_per_second: float = Field(
        100.0,
        gt=0,
        le=10_000,
        description="Logins per second that an idler begins at one mail server, unless the provider has its own.",
    )
    idle_renew: float = Field(
        300.0,
        ge=5,
        le=540,
        description="Seconds after which an IDLE is ended at the latest, the mailbox searched, and IDLE "
        "begun anew.",
    )
    stalled_after: float = Field(
        900.0,
        ge=660,
        le=604_800,
        description="Seconds without a proof that a user's mail server is alive, after which the user is "
        "`stalled`.",
    )
    heartbeat_interval: float = Field(
        10.0, gt=0, le=60, description="Seconds between heartbeats of an idler."
    )
    heartbeat_expiry: float = Field(
        30.0,
        gt=0,
        le=600,
        description="Seconds without a heartbeat after which an idler is taken for dead; the same for all.",
    )
    reconcile_interval: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Seconds between rounds in which an idler looks up which users it should watch.",
    )
    tracer_interval: float = Field(
        600.0, gt=0, description="Seconds between tracer mails. Reserved: tracers are not sent yet."
    )
    num_tracers: int = Field(
        3, ge=0, le=100, description="Tracer mails per interval. Reserved: tracers are not sent yet."
    )

    webhook_timeout: float = Field(
        30.0, gt=0, le=300, description="Seconds a webhook may take, from connecting to the last byte read."
    )
    posts_per_endpoint: int = Field(
        10, ge=1, le=1000, description="Webhooks under way to one endpoint at once."
    )
    max_lanes: int = Field(300, ge=1, le=10_000, description="Endpoints that a dispatcher works on at once.")
    egress_allow: Networks = Field(
        (),
        description="Private networks that may be dialled all the same, comma-separated, as `10.0.0.0/8`. "
        "Loopback is open in development.",
    )
    own_addresses: Networks = Field(
        (),
        description="Addresses under which this installation itself is reached, comma-separated, such as that of "
        "its load balancer: never dialled, also where EGRESS_ALLOW opens them.",
    )
    imap_ports: Ports = Field(
        (),
        description="Ports beside 993 and 143 at which people may have a mail server of their own, "
        "comma-separated. In development any.",
    )
    content_retention_days: float = Field(
        14.0,
        ge=0,
        le=3650,
        description="Days for which the encrypted content of a failed or cancelled webhook is kept. 0 keeps none: "
        "it cannot be replayed.",
    )
    message_retention_days: float = Field(
        90.0, ge=1, le=3650, description="Days for which messages, settled deliveries and attempts are kept."
    )

    @model_validator(mode="after")
    def _lease_outlives_heartbeat(self) -> "Settings":
        if self.heartbeat_expiry < 2 * self.heartbeat_interval:
            raise ValueError(
                "HEARTBEAT_EXPIRY should be at least twice HEARTBEAT_INTERVAL; raise it, "
                "or one late heartbeat moves every user"
            )
        return self

    @property
    def allowed_networks(self) -> tuple[Network, ...]:
        """Private networks that egress may dial: EGRESS_ALLOW, and loopback in development."""
        if self.environment == "development":
            return (*self.egress_allow, ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
        return self.egress_allow


def load(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings from the environment; `overrides` (by field name) win.

    Raises SettingsError with one line per wrong variable, never showing a secret's value.
    """
    try:
        return Settings(**dict(overrides or {}))
    except ValidationError as error:
        raise SettingsError("\n".join(_line(fault) for fault in error.errors())) from None


def _line(fault: Any) -> str:
    """One validation fault as `VARIABLE what is wrong; what would do`."""
    place = str(fault["loc"][0]).upper() if fault["loc"] else ""
    field = _FIELDS.get(place)
    described = f" {Settings.model_fields[field].description}" if field else ""
    # Of two names for one setting, speak of the one that was used.
    name = next((name for name in variables(field) if name in os.environ), place) if field else place
    if fault["type"] == "missing":
        return f"{name} is not set.{described}"
    message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if fault["type"] == "value_error":  # our own sentence, which says what would do
        return f"{name} {message}.".lstrip()
    return f"{name} {message}.{described}"


def variable(field: str) -> str:
    """The environment variable of a field."""
    return field.upper()


def variables(field: str) -> tuple[str, ...]:
    """Every environment variable that sets a field, the one to be recommended first."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(name) for name in alias.choices if name != field)
    return (variable(field),)


_FIELDS = {name: field for field in Settings.model_fields for name in variables(field)}


def in_force(settings: Settings) -> dict[str, object]:
    """Every variable with its value, secrets masked: what `superimap config` prints."""
    shown: dict[str, object] = {}
    for field in Settings.model_fields:
        value = getattr(settings, field)
        if field == "operator_key":
            value = "***" if value else ""
        elif isinstance(value, SecretStr):
            value = f"key {Vault.from_setting(value.get_secret_value()).describe()}"
        elif isinstance(value, tuple):
            value = ",".join(str(item) for item in value)
        elif isinstance(value, str):
            value = mask_password(value)
        shown[variable(field)] = value
    return shown
