"""Changes of users: which values are used, how they are stored, and what changes with them. No statements."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func

from superimap.core.crypto import Place, Vault
from superimap.db.accounts.validation.accounts import BOOLEAN_FIELDS, SESSION_SETTINGS, sign_in_fields
from superimap.db.accounts.validation.servers import SERVER_FIELDS, complete_server
from superimap.db.errors import Invalid
from superimap.db.models import Provider, User
from superimap.domain.providers import ProviderKind, SignInRules
from superimap.domain.users import Reauth, UserStatus

SECRET_FIELDS = frozenset({"login_password", "oauth2_refresh_token"})


def is_changed(user: User, name: str, value: object) -> bool:
    """Whether the value differs from the stored one; a secret always counts as changed unless both are blank."""
    stored = getattr(user, name)
    return (value or stored) is not None if name in SECRET_FIELDS else value != stored


def used_values(provider: SignInRules, user: User | None, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a user of this provider uses; of its own mail server all three fields, or none."""
    used = {"tag", "email", "history_days", *SESSION_SETTINGS, *BOOLEAN_FIELDS, *sign_in_fields(provider)}
    if "oauth2_refresh_token" in used:
        used.add("sign_in_email")
    kept = {name: value for name, value in values.items() if name in used}
    if provider.host_by_user and not values.keys().isdisjoint(SERVER_FIELDS):
        kept |= complete_server(
            values, (user.imap_host, user.imap_port, user.imap_tls) if user else (None, None, None)
        )
    return kept


def check_password_has_server(provider: SignInRules, user: User | None, values: Mapping[str, Any]) -> None:
    """Raise Invalid for a password without the mail server that it is for."""
    host = values.get("imap_host", user.imap_host if user else None)
    if provider.host_by_user and values.get("login_password") is not None and host is None:
        raise Invalid("imap_host", "is missing; send it with login_password, which is stored for one server")


def check_shared_mailbox_has_address(user: User | None, values: Mapping[str, Any]) -> None:
    """Raise Invalid for an account that signs in for another mailbox without the address of that mailbox."""
    email = values.get("email", user.email if user else None)
    account = values.get("sign_in_email", user.sign_in_email if user else None)
    if account is not None and email is None:
        raise Invalid("email", "is missing; with sign_in_email it is the address of the shared mailbox")


def required_fields(provider: SignInRules) -> tuple[str, ...]:
    """Fields that must be set before the user can sign in."""
    return (*sign_in_fields(provider), *(("imap_host",) if provider.host_by_user else ()))


def as_stored(vault: Vault, partner_id: int, user_id: int, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values as they are stored: secrets encrypted for this row."""
    return {
        name: vault.seal_text(value, Place("users", name, partner_id, str(user_id)))
        if name in SECRET_FIELDS and value is not None
        else value
        for name, value in values.items()
    }


def initial_status(*, archived: bool, is_connected: bool) -> UserStatus:
    """Status of a user after its credentials changed."""
    if archived:
        return UserStatus.ARCHIVED
    return UserStatus.CONNECTING if is_connected else UserStatus.NOT_CONNECTED


def with_status(status: UserStatus) -> dict[str, Any]:
    """Return the columns that change with a status that a person sets. A running session is replaced or ended."""
    return {
        "credentials_version": User.credentials_version + 1,
        "status": status,
        "status_reason": None,
        "status_since": func.now(),
        "retry_at": None,
    }


def further_changes(provider: Provider, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Return the further columns that change with these values; empty if no running session is affected."""
    credentials_change = _credentials_change(provider, user, values)
    archived = values.get("archived", user.archived)
    is_renamed = values.get("tag", user.tag) != user.tag  # a running session uses the old tag
    settings = [name for name in SESSION_SETTINGS if name in values and is_changed(user, name, values[name])]
    if not credentials_change and not is_renamed and not settings and archived == user.archived:
        return {}
    is_complete = all(values.get(name, getattr(user, name)) for name in required_fields(provider))
    changes = with_status(initial_status(archived=archived, is_connected=is_complete))
    changes |= {f"{name}_since": func.now() for name in settings}
    if credentials_change:
        changes |= _new_credentials(provider, user, values, is_complete=is_complete)
    return changes


def _credentials_change(provider: Provider, user: User, values: dict[str, Any]) -> bool:
    """Whether the account name or the server differs, or a secret is set or cleared."""
    account, *secrets = sign_in_fields(provider)
    if any(name in values and values[name] != getattr(user, name) for name in (account, *SERVER_FIELDS)):
        return True
    given = [secret for secret in secrets if secret in values]
    return any(values[secret] is not None or getattr(user, secret) is not None for secret in given)


def _new_credentials(
    provider: Provider, user: User, values: dict[str, Any], *, is_complete: bool
) -> dict[str, Any]:
    """Return the columns that change with new credentials: time of connecting, tokens, logins, sign-in."""
    is_other_account = _is_other_account(sign_in_fields(provider)[0], user, values)
    since = func.now() if is_other_account else func.coalesce(User.connected_at, func.now())
    changes: dict[str, Any] = {
        "connected_at": since if is_complete else None,
        "login_accepted": False,
        "refusals": 0,
        "refused_since": None,
    }
    if provider.kind == ProviderKind.OAUTH2:
        changes |= {
            "oauth2_access_token": None,
            "oauth2_access_token_expires_at": None,
            "oauth2_token_version": User.oauth2_token_version + 1,  # voids a token request in progress
            "oauth2_lease_until": None,
        }
    if provider.kind == ProviderKind.OAUTH2 and is_other_account:
        changes["login_username"] = None  # the provider's name for the other account
    if user.reauth is not None:
        changes["reauth"] = Reauth.RENEWED if is_complete else None
    return changes


def _is_other_account(account: str, user: User, values: dict[str, Any]) -> bool:
    """Whether the new values are of another mail account, of which nothing is known."""
    before, after = getattr(user, account), values.get(account)
    return bool(before and after and before.lower() != after.lower())
