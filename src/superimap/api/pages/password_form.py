"""The password form: its fields, their validation, and the sentences for errors."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Response

from superimap.api.mail_servers import check_mail_server
from superimap.api.pages import browser, texts
from superimap.api.pages.opened_link import OpenedLink, Visitor
from superimap.api.pages.render import render_page
from superimap.core.config import Settings
from superimap.db.accounts.validation.accounts import UserFields, validate_account
from superimap.db.accounts.validation.servers import IMAPS_PORT, ServerFields, complete_server
from superimap.db.errors import Invalid
from superimap.db.models import Provider, User
from superimap.domain.mail_accounts import is_same_account
from superimap.domain.presets import app_password_hint
from superimap.imap.errors import AuthenticationFailed, Refused, TlsFailed

log = logging.getLogger(__name__)

# By field of the form: its name in sentences, and the column that stores it.
FORM_FIELDS = {
    "username": ("user name", "login_username"),
    "password": ("password", "login_password"),
    "host": ("mail server", "imap_host"),
    "port": ("port", "imap_port"),
}
ECHOED_FIELDS = ("username", "host", "port")
"""Fields that keep their value when the form is shown again; never the password."""
_NO_FIELDS: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FormError:
    """An error in the form: a sentence for the person, and the fields that the sentence is about."""

    sentence: str
    fields: frozenset[str] = _NO_FIELDS


def password_form(
    visitor: Visitor,
    link: OpenedLink,
    browser_id: str,
    *,
    typed: Mapping[str, str] | None = None,
    error: FormError | None = None,
    status: int = 422,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Render the form; after a failed submission with the typed values, the error and this status."""
    linked_user = link.linked_user
    filled = (
        _known_values(linked_user.user)
        if typed is None
        else {each: printable(typed.get(each, "")) for each in ECHOED_FIELDS}
    )
    asks_server = linked_user.provider.host_by_user
    fields = ("username", "password", "host", "port") if asks_server else ("username", "password")
    empty = [each for each in fields if not filled.get(each, "")]
    candidates = [each for each in fields if each in error.fields] if error else empty
    return render_page(
        "password.html",
        prefix=visitor.prefix,
        status=200 if error is None else status,
        headers=headers,
        returns_to=(link.success_url, link.failure_url),
        partner=linked_user.partner.name,
        provider=None if asks_server else texts.provider_name(linked_user.provider.title),
        hint=app_password_hint(linked_user.provider.code),
        asks_server=asks_server,
        filled=filled,
        fields=link.fields,
        token=browser.form_token(visitor.resources.link_keys[0], browser_id, link.sig),
        error=error.sentence if error else "",
        wrong=error.fields if error else _NO_FIELDS,
        focus=next((each for each in candidates if each in empty), next(iter(candidates), "")),
    )


def submitted_fields(
    user: User, provider: Provider, given: Mapping[str, str], settings: Settings
) -> UserFields:
    """Return the values to store. Raises Invalid, with a field of the form, for a missing or invalid value."""
    username, password = given.get("username", "").strip(), given.get("password", "")
    values: UserFields = {"login_username": username, "login_password": password}
    needed = {"username": username, "password": password}
    if provider.host_by_user:
        needed["host"] = given.get("host", "").strip()
        values["imap_host"] = needed["host"]
        values["imap_port"] = _port(given.get("port", "").strip())
    for name, value in needed.items():
        if not value.strip():
            raise Invalid(name, "is missing")
    try:
        stored = validate_account(values)
        server: ServerFields = _server(user, stored, settings) if provider.host_by_user else {}
    except Invalid as error:
        raise Invalid(_form_field(error.field), error.reason) from None
    if user.email and "@" in username and not is_same_account(username, user.email):
        raise Invalid("username", f"must be {user.email}, which this link is for")
    fields: UserFields = {"login_username": username, "login_password": password}
    if server:
        fields["imap_host"], fields["imap_port"] = server["imap_host"], server["imap_port"]
        fields["imap_tls"] = server["imap_tls"]
    if user.email is None and "@" in username:
        fields["email"] = username
    return fields


def _server(user: User, values: Mapping[str, Any], settings: Settings) -> ServerFields:
    """Return the typed server, with the port's usual kind of TLS. Raises Invalid.

    A server that the partner or an operator has already set keeps its kind of TLS: the form has no field for it.
    """
    server = complete_server(values, (None, None, None))
    if (server["imap_host"], server["imap_port"]) == (user.imap_host, user.imap_port):
        return {**server, "imap_tls": user.imap_tls}
    check_mail_server(server, settings)
    return server


def field_error(error: Invalid) -> FormError:
    """Return the error for an invalid field."""
    return FormError(f"The {FORM_FIELDS[error.field][0]} {error.reason}.", frozenset({error.field}))


def login_error(error: Exception, provider: Provider) -> FormError:
    """Return what a person can do about a failed login, without the server's own text.

    For a server that the person named, all failures to reach it give the same sentence: the form must not reveal
    what listens at which address.
    """
    name = texts.provider_name(provider.title)
    match error:
        case AuthenticationFailed():
            server = "The mail server" if provider.host_by_user else name
            needs_app_password = app_password_hint(provider.code) is not None
            more = f" {error.advice}" if error.advice else ""
            more = " Use an app password, not your usual one: see below." if needs_app_password else more
            return FormError(
                f"{server} does not accept this user name and password.{more}",
                frozenset({"username", "password"}),
            )
        case Refused():
            server = "The mail server" if provider.host_by_user else name
            return FormError(
                f"{server} does not accept any sign-in at the moment. Try again in a few minutes.", _NO_FIELDS
            )
        case _ if provider.host_by_user:
            return FormError(texts.SERVER_NOT_FOUND, frozenset({"host", "port"}))
        case TlsFailed():
            return FormError(
                f"The mail server of {name} could not be verified (its certificate is not valid), "
                f"so your password was not sent. {texts.ASK_SUPPORT}",
                _NO_FIELDS,
            )
        case _:
            return FormError(
                f"The mail server of {name} is not responding. Try again in a few minutes.", _NO_FIELDS
            )


def printable(text: str) -> str:
    """Return the text without characters that a form field cannot contain."""
    return "".join(char for char in text if char.isprintable()).strip()


def _known_values(user: User) -> dict[str, str]:
    """Return the values that are known before the person types."""
    port = str(user.imap_port or IMAPS_PORT)
    return {"username": user.login_username or user.email or "", "host": user.imap_host or "", "port": port}


def _port(text: str) -> int | None:
    """Parse the port; None if the field is empty, which means the usual port. Raises Invalid."""
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 5:
        raise Invalid("port", f"must be a number, usually {IMAPS_PORT}")
    return int(text)


def _form_field(column: str) -> str:
    """Return the field of the form whose value is stored in this column."""
    return next(name for name, (_, stored) in FORM_FIELDS.items() if stored == column)
