"""Settings of every process: names, types, limits, defaults and descriptions."""

import ipaddress
from typing import Literal

from pydantic import AliasChoices, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from superimap.core.setting_types import (
    BaseUrl,
    CollectorUrl,
    Headers,
    IdText,
    IssuerUrl,
    KeyRing,
    Names,
    Network,
    Networks,
    OptionalPostgresUrl,
    OptionalSecret,
    Ports,
    PostgresUrl,
    ReadUrl,
    RedisUrl,
    StoreUrl,
    StrongSecret,
)


class Settings(BaseSettings):
    """Every setting of every process: one frozen object, passed down from `main`.

    docs/operations.md repeats the field descriptions.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, populate_by_name=True
    )

    environment: Literal["production", "development"] = Field(
        "production",
        description="`development` allows plain HTTP and loopback addresses; `production` refuses both.",
    )
    database_url: PostgresUrl = Field(
        repr=False,
        description="URL of PostgreSQL, which holds all data: `postgresql://user:password@host:5432/superimap`. "
        "Several hosts are separated by commas. libpq's keywords are supported, or rejected by name.",
    )
    database_session_url: OptionalPostgresUrl = Field(
        "",
        repr=False,
        description="URL of the same database for connections that need a session of their own, if DATABASE_URL "
        "leads to a pooler in transaction mode: notifications, locks and migrations. Empty: DATABASE_URL.",
    )
    database_read_url: ReadUrl = Field(
        "",
        repr=False,
        description="URL of a standby of the same database, from which the API reads the lists of messages and "
        "deliveries while it is at most 5 s behind. Empty: all is read from DATABASE_URL.",
    )
    dashboard_database_url: OptionalPostgresUrl = Field(
        "",
        repr=False,
        description="URL of the same database with the role `superimap_operator`, for the dashboard: the role "
        "of the API may not change partners and providers. Empty: DATABASE_URL.",
    )
    redis_url: RedisUrl = Field(
        "redis://localhost:6379/0",
        repr=False,
        description="URL of Valkey or Redis, which carries wake-ups: `redis://host:6379/0` or `unix:///path.sock`.",
    )
    encryption_key: KeyRing = Field(
        description="One or more base64 keys of 32 bytes, comma-separated; the first encrypts, all decrypt. "
        "`superimap generate-key` generates a key.",
    )
    key_provider: str = Field(
        "environment",
        description="Source of the encryption keys: `environment` (ENCRYPTION_KEY), `file` (ENCRYPTION_KEY_FILE), "
        "or an installed provider, such as one for a KMS.",
    )
    operator_key: StrongSecret = Field(
        None,
        description="Secret of 16 or more characters with which operators call `/operators/cluster`. "
        "Empty: the API has no such path.",
    )
    oidc_issuer: IssuerUrl = Field(
        "",
        description="Issuer of the OpenID provider with which operators sign in, such as "
        "`https://login.example.com/realms/staff`. Empty: there is no single sign-on.",
    )
    oidc_client_id: str = Field("", description="Client id of SuperIMAP at this provider.")
    oidc_client_secret: OptionalSecret = Field(None, description="Secret of this client.")
    oidc_scope: str = Field(
        "openid email profile",
        pattern=r"^(?:.* )?openid(?: .*)?$",
        description="Scopes that are requested; some providers report groups only with a scope such as `groups`.",
    )
    oidc_label: str = Field(
        "Single sign-on", max_length=60, description="Name of the provider on the button of the sign-in page."
    )
    oidc_email_claim: str = Field(
        "email",
        min_length=1,
        description="Claim with the address of an operator. `email` counts only if the provider has verified it; "
        "for Microsoft Entra ID use `preferred_username`.",
    )
    oidc_groups_claim: str = Field(
        "groups", min_length=1, description="Claim of ID tokens that lists groups."
    )
    oidc_owner_groups: Names = Field(
        (), description="Groups whose members have the role `owner`, comma-separated."
    )
    oidc_operator_groups: Names = Field((), description="Groups whose members have the role `operator`.")
    oidc_viewer_groups: Names = Field((), description="Groups whose members have the role `viewer`.")
    host: str = Field("127.0.0.1", description="Address on which the API listens.")
    port: int = Field(
        8000, ge=0, le=65535, description="Port on which the API listens; 0 chooses a free port."
    )
    base_url: BaseUrl = Field(
        "",
        description="Public URL of the API, such as `https://superimap.example.com`, with which connect links "
        "start. It may have a path. Empty: each link starts with the URL of the request, and events carry no "
        "link.",
    )
    cell: str = Field(
        "",
        pattern="^([a-z][a-z0-9]{0,15})?$",
        description="Name of this installation among several, up to 16 lower-case letters and digits, such as "
        "`eu1`. New API keys then begin with `sip_eu1_`, by which an ingress finds the installation.",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Networks of reverse proxies whose `X-Forwarded-*` headers are trusted, comma-separated.",
    )
    drain_seconds: float = Field(
        5.0,
        ge=0,
        le=300,
        description="Seconds for which the API goes on serving after SIGTERM, while /readyz fails, so that load "
        "balancers stop using it first.",
    )
    health_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of a process for /healthz, /readyz and /metrics; 0 opens no port.",
    )
    health_host: str = Field(
        "127.0.0.1",
        description="Address on which HEALTH_PORT listens. `::`, also in HOST, means all IPv6 and IPv4 addresses.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`text`, or `json` for one JSON object per line."
    )
    metric_lines: Literal["", "l2met"] = Field(
        "",
        description="`l2met`: print metrics with the names of the original to standard output every 10 s, for log "
        "drains. Empty: do not.",
    )
    dyno: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.:-]{0,64}$",
        description="Source in these lines; a platform such as Heroku sets it. Empty: the kind of the process.",
    )
    database_pool_size: int = Field(
        10,
        ge=2,
        le=500,
        description="Connections in the database pool of a process. An idler opens up to three more, a dispatcher "
        "one.",
    )

    max_sessions: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        validation_alias=AliasChoices("MAX_SESSIONS", "MAX_USER_THREADS", "max_sessions"),
        description="Maximum number of IMAP sessions of one idler. `MAX_USER_THREADS` is another name for it.",
    )
    max_email_size: int = Field(
        1_048_576,
        ge=1,
        le=64 * 1024 * 1024,
        description="Maximum size of a mail in bytes. A larger mail is recorded as `too_big` and not sent.",
    )
    bytes_in_flight: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Maximum bytes of mail that one idler holds in memory at once.",
    )
    connects_in_flight: int = Field(
        50,
        ge=1,
        le=10_000,
        description="Maximum number of TLS handshakes and logins in progress at once in one idler.",
    )
    logins_per_second: float = Field(
        100.0,
        gt=0,
        le=10_000,
        description="Maximum logins per second of one idler at one mail server, unless its provider sets another.",
    )
    idle_renew: float = Field(
        300.0,
        ge=5,
        le=540,
        description="Maximum seconds of one IDLE command. Then the mailbox is searched and IDLE is started again.",
    )
    folder_status_seconds: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="Seconds between two looks at a user's further folders, where the mail server does not "
        "announce their mail. For each further 10 folders the interval is longer by as much.",
    )
    stalled_after: float = Field(
        900.0,
        ge=660,
        le=604_800,
        description="Seconds without proof of life from a user's mail server until the user becomes `stalled`.",
    )
    heartbeat_interval: float = Field(
        10.0, gt=0, le=60, description="Seconds between heartbeats of an idler."
    )
    heartbeat_expiry: float = Field(
        30.0,
        gt=0,
        le=600,
        description="Seconds without a heartbeat until an idler counts as dead; must be the same for all idlers.",
    )
    reconcile_interval: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Seconds between reconcile rounds, in which an idler reads which users it must watch.",
    )
    tracer_interval: float = Field(
        600.0,
        ge=0,
        description="Seconds in which `NUM_TRACERS` tracers are sent, spread evenly; 0: none. They go to "
        "providers that have a way to send them.",
    )
    num_tracers: int = Field(
        3, ge=0, le=100, description="Tracers that the cluster sends in each `TRACER_INTERVAL`; 0: none."
    )

    webhook_timeout: float = Field(
        30.0, gt=0, le=300, description="Maximum seconds for one POST, from connecting to the last byte read."
    )
    posts_per_endpoint: int = Field(
        10, ge=1, le=1000, description="Maximum number of POSTs in progress to one endpoint at once."
    )
    max_lanes: int = Field(
        300, ge=1, le=10_000, description="Maximum number of endpoints that a dispatcher works on at once."
    )
    egress_allow: Networks = Field(
        (),
        description="Private networks that may be dialled, comma-separated, such as `10.0.0.0/8`. "
        "Loopback is allowed in development.",
    )
    own_addresses: Networks = Field(
        (),
        description="Addresses of this installation itself, such as its load balancer, comma-separated. "
        "They are never dialled, even where EGRESS_ALLOW allows them.",
    )
    imap_ports: Ports = Field(
        (),
        description="Ports in addition to 993 and 143 that a person's own mail server may use, comma-separated. "
        "Development allows every port.",
    )
    imap_id_vendor: IdText = Field(
        "",
        description="Name of the operator, for mail servers that offer ID. Empty: they are told the name and "
        "version of SuperIMAP only.",
    )
    imap_id_support_url: IdText = Field(
        "",
        description="Page or address for the operators of mail servers that offer ID. Empty: none.",
    )
    content_retention_days: float = Field(
        14.0,
        ge=0,
        le=3650,
        description="Days for which the encrypted content of a failed or cancelled delivery is kept. "
        "0: it is not kept, and the delivery cannot be replayed.",
    )
    content_store_url: StoreUrl = Field(
        "",
        description="Bucket and folder of an object store for large contents of webhooks, such as "
        "`s3://bucket/superimap`. Credentials and endpoint: the variables `AWS_…`. Empty: all are in PostgreSQL.",
    )
    content_store_min_bytes: int = Field(
        131_072,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Size in bytes from which a content is written to the object store.",
    )
    traces_url: CollectorUrl = Field(
        "",
        description="OTLP/HTTP address of a collector that gets a trace of each mail from dispatchers, such as "
        "`http://collector:4318/v1/traces`; needs the extra `otel`. A private address has to be in EGRESS_ALLOW.",
    )
    traces_headers: Headers = Field(
        None, description="Headers for the collector, as `name=value`, comma-separated. They may be secret."
    )
    content_download: bool = Field(
        False,
        description="Whether owners may download mails on the dashboard, with a confirmed identity and a reason "
        "for the audit log. With an object store, the API then needs its credentials to read.",
    )
    disabled_retention_days: float = Field(
        30.0,
        ge=1,
        le=3650,
        description="Days for which deliveries wait for a disabled endpoint, with their content, until they fail.",
    )
    message_retention_days: float = Field(
        90.0, ge=1, le=3650, description="Days for which messages, settled deliveries and attempts are kept."
    )

    quota_users: int = Field(
        100_000,
        ge=1,
        description="Users of a partner that are not archived, unless an operator sets another.",
    )
    quota_sessions: int = Field(
        100_000, ge=1, description="Connected users of a partner, unless an operator sets another."
    )
    quota_backlog_rows: int = Field(
        1_000_000,
        ge=1,
        description="Webhooks of a partner that are to be sent. Beyond it new mail waits at the mail server.",
    )
    quota_backlog_bytes: int = Field(
        20 * 1024 * 1024 * 1024,
        ge=1,
        description="Bytes of encrypted content of these webhooks. Beyond it new mail waits at the mail server.",
    )
    quota_requests_per_second: int = Field(
        200,
        ge=1,
        description="Requests per second of a partner to each API process; ten seconds' worth may come at once.",
    )

    @model_validator(mode="after")
    def _lease_outlives_heartbeat(self) -> "Settings":
        if self.heartbeat_expiry < 2 * self.heartbeat_interval:
            raise ValueError(
                "HEARTBEAT_EXPIRY must be at least twice HEARTBEAT_INTERVAL; raise it, "
                "or one late heartbeat moves every user to another idler"
            )
        return self

    @model_validator(mode="after")
    def _single_sign_on_is_complete(self) -> "Settings":
        if not self.oidc_issuer:
            return self
        if not self.oidc_client_id:  # the secret is the API's only, which asks for it
            raise ValueError("OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET")
        if not (self.oidc_owner_groups or self.oidc_operator_groups or self.oidc_viewer_groups):
            raise ValueError(
                "OIDC_ISSUER needs a group that may sign in: set OIDC_OWNER_GROUPS, OIDC_OPERATOR_GROUPS or "
                "OIDC_VIEWER_GROUPS"
            )
        if self.environment == "production" and not self.oidc_issuer.startswith("https://"):
            raise ValueError("OIDC_ISSUER must start with https:// in production")
        return self

    @property
    def session_url(self) -> str:
        """URL of the database for connections that need a session of their own."""
        return self.database_session_url or self.database_url

    @property
    def quotas(self) -> dict[str, int]:
        """Default quotas of partners, by name."""
        return {
            "users": self.quota_users,
            "sessions": self.quota_sessions,
            "backlog_rows": self.quota_backlog_rows,
            "backlog_bytes": self.quota_backlog_bytes,
            "requests_per_second": self.quota_requests_per_second,
        }

    @property
    def allowed_networks(self) -> tuple[Network, ...]:
        """Private networks that may be dialled: EGRESS_ALLOW, and loopback in development."""
        if self.environment == "development":
            return (*self.egress_allow, ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
        return self.egress_allow
