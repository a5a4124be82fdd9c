"""Destinations of stored secrets: for each field that may be set, the secrets whose way it decides.

A secret is sent only where the fields pointed when it was stored. A change of such a field comes with the secret
again or loses it. Otherwise a stolen API key could have a stored password sent to another server. A test compares
the tables with the fields that can be set, so that a new field is classified here.
"""

import json
from collections.abc import Mapping

PASSWORD = "login_password"  # noqa: S105 - names of columns, not secrets
REFRESH_TOKEN = "oauth2_refresh_token"  # noqa: S105
CLIENT_SECRET = "oauth2_client_secret"  # noqa: S105

USER_FIELDS: Mapping[str, tuple[str, ...]] = {
    "imap_host": (PASSWORD,),
    "imap_port": (PASSWORD,),
    "imap_tls": (PASSWORD,),
    "login_username": (PASSWORD,),
    "email": (REFRESH_TOKEN,),  # the account that the token opens
    "sign_in_email": (REFRESH_TOKEN,),  # the account that has consented
}
"""Fields of a user, set by a partner or a person."""

CONNECTION_FIELDS: Mapping[str, tuple[str, ...]] = {
    "oauth2_client_id": (CLIENT_SECRET,),
    "oauth2_tenant": (CLIENT_SECRET,),  # a part of the token URL
}
"""Fields of a connection, set by a partner."""

PROVIDER_FIELDS: Mapping[str, tuple[str, ...]] = {
    # A new server is given the password, or access tokens made from the refresh token or the client.
    "imap_host": (PASSWORD, REFRESH_TOKEN, CLIENT_SECRET),
    "imap_port": (PASSWORD, REFRESH_TOKEN, CLIENT_SECRET),
    "imap_tls": (PASSWORD, REFRESH_TOKEN, CLIENT_SECRET),
    "host_by_user": (PASSWORD,),
    # Tracers sign in there like their users. `smtp_tls` is never none for them.
    "smtp_host": (PASSWORD, REFRESH_TOKEN, CLIENT_SECRET),
    "smtp_port": (PASSWORD, REFRESH_TOKEN, CLIENT_SECRET),
    "oauth2_token_url": (REFRESH_TOKEN, CLIENT_SECRET),
    "oauth2_revoke_url": (REFRESH_TOKEN, CLIENT_SECRET),
}
"""Fields of a provider, which an operator sets for all its users."""

_ASKED_FIELDS = (
    *(name for name in PROVIDER_FIELDS if not name.startswith("smtp_")),  # nothing of a consent goes there
    "oauth2_authorize_url",
    "oauth2_userinfo_url",
)

NO_SECRET_IS_SENT: Mapping[str, str] = {
    "oauth2_authorize_url": "the person's browser goes there, with the client id",
    "oauth2_userinfo_url": "gets an access token that was issued a moment ago, and is not stored yet",
    "oauth2_jwks_url": "is read without credentials",
    "oauth2_issuer": "is compared, never dialled",
    "oauth2_site": "is not used",
    "smtp_domain": "is the name that tracers say in EHLO",
    "smtp_tls": "tracers sign in only over TLS or STARTTLS, which verify the same certificate",
    "tracer_by": "chooses between servers that the provider names already",
    "success_url": "the person's browser goes there",
    "failure_url": "the person's browser goes there",
    "return_origins": "is compared with the URLs of links",
    "new_mail_webhook": "gets signatures made with the secrets of the partner, not the secrets",
    "user_connected_webhook": "gets signatures, not secrets",
    "user_disconnected_webhook": "gets signatures, not secrets",
    "events_webhook": "gets signatures, not secrets",
}
"""Fields that name a host or a URL to which no stored secret is sent, and why."""


def misdirected_secrets(
    fields: Mapping[str, tuple[str, ...]], row: object, values: Mapping[str, object]
) -> dict[str, str]:
    """Return the secrets that the new values would send elsewhere, each with the field that changes.

    `row` has the present values as attributes. A secret among the values was given for the new destination.
    """
    found: dict[str, str] = {}
    for field, secrets in fields.items():
        if field in values and _is_other_destination(field, getattr(row, field), values[field]):
            for secret in secrets:
                if secret not in values:
                    found.setdefault(secret, field)
    return found


def destinations_of(provider: object) -> str:
    """Return the servers and URLs that get a person's password or code, as a text to compare."""
    return json.dumps([str(getattr(provider, field)) for field in _ASKED_FIELDS])


def _is_other_destination(field: str, before: object, after: object) -> bool:
    """Whether a secret that was stored with `before` must not be sent with `after`.

    TLS and STARTTLS verify the same certificate: only giving up both counts. A first account name is none that
    changes: without one the secret was not used. The letter case of an address or a host does not matter.
    """
    if field == "imap_tls":
        return after == "none" and before != after
    if field in {"login_username", "email"} and before is None:
        return False
    if field in {"email", "sign_in_email", "imap_host", "smtp_host"}:
        return str(before).lower() != str(after).lower()
    return before != after
