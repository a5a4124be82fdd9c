"""Audit log: kinds of actors, actions, and the values that may be recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

MIN_RETENTION_DAYS = 90
"""Days during which the database refuses to delete a row, also for its owner (migration 0025)."""

MAX_VALUE_CHARACTERS = 500


class ActorKind(StrEnum):
    """Who made a change."""

    OPERATOR = (
        "operator"  # at the command line: the user of the operating system; in the dashboard: the email
    )
    API_KEY = "api_key"  # a partner's application; the actor is the id of the key
    PORTAL = "portal"  # a person in a partner's portal; the actor is who made the link
    LINK = "link"  # a person with a connect or disconnect link; the actor is the id of the user
    SYSTEM = "system"  # code on nobody's behalf, such as the demo


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes the changes of a transaction. `details` are recorded with each change, such as the address."""

    kind: ActorKind
    name: str
    details: Mapping[str, str] = field(default_factory=dict)


class AuditAction(StrEnum):
    """Changes that are recorded. The part before the dot is the kind of the object."""

    PARTNER_CREATE = "partner.create"
    PARTNER_UPDATE = "partner.update"
    PARTNER_DELETE = "partner.delete"
    PARTNER_QUOTA = "partner.quota"
    API_KEY_CREATE = "api_key.create"
    API_KEY_UPDATE = "api_key.update"
    API_KEY_RETIRE = "api_key.retire"
    API_KEY_SIGN = "api_key.sign"
    SIGNING_SECRET_ROTATE = "signing_secret.rotate"  # noqa: S105
    CONNECTION_CREATE = "connection.create"
    CONNECTION_UPDATE = "connection.update"
    CONNECTION_DELETE = "connection.delete"
    USER_CREATE = "user.create"
    USER_UPDATE = "user.update"
    USER_CONNECT = "user.connect"
    USER_DISCONNECT = "user.disconnect"
    USER_PROTOCOL_LOG = "user.protocol_log"
    MESSAGE_RETRY = "message.retry"
    MESSAGE_DOWNLOAD = "message.download"
    ENDPOINT_ENABLE = "endpoint.enable"
    ENDPOINT_TEST = "endpoint.test"
    SWEEP_CREATE = "sweep.create"
    SWEEP_UPDATE = "sweep.update"
    DELIVERY_REPLAY = "delivery.replay"
    DELIVERY_CANCEL = "delivery.cancel"
    JOB_START = "job.start"
    JOB_CANCEL = "job.cancel"
    PROVIDER_CREATE = "provider.create"
    PROVIDER_UPDATE = "provider.update"
    PROVIDER_DELETE = "provider.delete"
    OPERATOR_CREATE = "operator.create"
    OPERATOR_UPDATE = "operator.update"
    OPERATOR_DELETE = "operator.delete"
    OPERATOR_LINK = "operator.link"
    OPERATOR_SIGN_IN = "operator.sign_in"
    OPERATOR_REFUSE = "operator.refuse"
    OPERATOR_LOCK = "operator.lock"
    OPERATOR_TOKEN_CREATE = "operator_token.create"  # noqa: S105
    OPERATOR_TOKEN_REVOKE = "operator_token.revoke"  # noqa: S105
    SESSION_END = "session.end"
    PORTAL_LINK = "portal.link"
    PORTAL_OPEN = "portal.open"
    INSTALLATION_MIGRATE = "installation.migrate"
    INSTALLATION_REENCRYPT = "installation.reencrypt"
    AUDIT_LOG_PURGE = "audit_log.purge"


RECORDED_VALUES = frozenset(
    {
        "name", "hint", "scopes", "networks", "expires_at", "signs_from", "append_results", "return_origins",
        "imap_provider_code", "tag", "archived", "enable_tracer", "imap_host", "imap_port", "imap_tls",
        "oauth2_client_id", "oauth2_tenant", "kind", "state", "count", "user_tag", "limit", "code", "quota",
        "revision", "providers", "days", "overlap_seconds", "key_id", "stored_secrets", "address", "role",
        "method", "reason", "job", "token", "is_confirmed", "tracer_by", "send_traceparent",
        "since", "until", "direction", "again", "dry_run", "history_days",
        "change_events",
    }
)  # fmt: skip
"""Fields whose values are recorded. Of all others only the name is: they hold secrets, addresses or content."""

RECORDED_ORIGINS = frozenset({"success_url", "failure_url"} | {
    f"{kind}_webhook" for kind in ("new_mail", "user_connected", "user_disconnected", "events")
})  # fmt: skip
"""URLs of which the origin is recorded: paths and queries of webhook URLs often contain tokens."""


def recorded_details(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded of these values, as JSON types."""
    return {name: _recorded(name, value) for name, value in values.items() if _is_recorded(name)}


def _is_recorded(name: str) -> bool:
    return name in RECORDED_VALUES or name in RECORDED_ORIGINS


def _recorded(name: str, value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case list() | tuple() | set() | frozenset():
            return [_storable(str(each)) for each in value]
    text = str(value)
    if name in RECORDED_ORIGINS:
        parts = urlsplit(text)
        text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return _storable(text)


def _storable(text: str) -> str:
    """Return the beginning of a text without NUL and lone surrogates, which PostgreSQL does not store."""
    beginning = text[:MAX_VALUE_CHARACTERS].replace("\0", "\ufffd")
    return beginning.encode("utf-8", "replace").decode()
