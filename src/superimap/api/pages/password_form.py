"""What is a person asked who signs in with a password, what of it will do, and what is said if it does not?"""

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
from superimap.imap.errors import AuthenticationFailed, Refused, TlsFailed

log = logging.getLogger(__name__)

# The fields of the form: what each is called, and where it is stored.
FORM_FIELDS = {
    "username": ("user name", "login_username"),
    "password": ("password", "login_password"),
    "host": ("mail server", "imap_host"),
    "port": ("port", "imap_port"),
}
ECHOED_FIELDS = ("username", "host", "port")  # what is given back to be corrected; the password never


@dataclass(frozen=True, slots=True)
class FormError:
    """What will not do: a sentence for the person, and the fields of the form that it is about."""

    sentence: str
    fields: frozenset[str]


def password_form(
    coming: Visitor,
    visit: OpenedLink,
    name: str,
    *,
    typed: Mapping[str, str] | None = None,
    wrong: FormError | None = None,
) -> Response:
    """The form; with what was typed and what was wrong with it, if this is not the first time."""
    about = visit.about
    filled = (
        _known(about.user)
        if typed is None
        else {each: printable(typed.get(each, "")) for each in ECHOED_FIELDS}
    )
    asks_server = about.provider.host_by_user
    fields = ("username", "password", "host", "port") if asks_server else ("username", "password")
    empty = [each for each in fields if not filled.get(each, "")]
    candidates = [each for each in fields if each in wrong.fields] if wrong else empty
    return render_page(
        "password.html",
        status=200 if wrong is None else 422,
        returns_to=(visit.success_url, visit.failure_url),
        partner=about.partner.name,
        provider=None if asks_server else texts.provider_name(about.provider.title),
        hint=texts.app_password_hint(about.provider.code),
        asks_server=asks_server,
        filled=filled,
        fields=visit.fields,
        token=browser.form_token(coming.opened.link_keys[0], name, visit.sig),
        error=wrong.sentence if wrong else "",
        wrong=wrong.fields if wrong else frozenset(),
        begin=next((each for each in candidates if each in empty), next(iter(candidates), "")),
    )


def submitted_fields(
    user: User, provider: Provider, given: Mapping[str, str], settings: Settings
) -> UserFields:
    """What would be stored. Raises Invalid, by field of the form, for what is missing or will not do."""
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
        raise Invalid(_field(error.field), error.reason) from None
    if user.email and "@" in username and username.lower() != user.email.lower():
        raise Invalid("username", f"should be {user.email}, for which this link was made")
    fields: UserFields = {"login_username": username, "login_password": password}
    if server:
        fields["imap_host"], fields["imap_port"] = server["imap_host"], server["imap_port"]
        fields["imap_tls"] = server["imap_tls"]
    if user.email is None and "@" in username:
        fields["email"] = username
    return fields


def _server(user: User, values: Mapping[str, Any], settings: Settings) -> ServerFields:
    """The server that was typed, with TLS as usual at the port. Raises Invalid.

    One that the partner, or an operator, has set already is as they say: the form does not ask how it is secured.
    """
    server = complete_server(values, (None, None, None))
    if (server["imap_host"], server["imap_port"]) == (user.imap_host, user.imap_port):
        return {**server, "imap_tls": user.imap_tls}
    check_mail_server(server, settings)
    return server


def field_error(error: Invalid) -> FormError:
    """What is said of a field that will not do."""
    return FormError(f"The {FORM_FIELDS[error.field][0]} {error.reason}.", frozenset({error.field}))


def login_error(error: Exception, provider: Provider) -> FormError:
    """What a person can do about a login that failed; nothing of what the server said.

    Of a server that the person named all that went wrong on the way there is one: nobody shall learn by this
    form what answers at which address.
    """
    name = texts.provider_name(provider.title)
    match error:
        case AuthenticationFailed():
            who = "The mail server" if provider.host_by_user else name
            wants_other = texts.app_password_hint(provider.code) is not None
            more = " It asks for an app password, not for your usual one: see below." if wants_other else ""
            return FormError(
                f"{who} does not accept this user name and password.{more}",
                frozenset({"username", "password"}),
            )
        case Refused():
            who = "The mail server" if provider.host_by_user else name
            return FormError(
                f"{who} does not let anybody sign in at the moment. Try again in a few minutes.", _NONE
            )
        case _ if provider.host_by_user:
            return FormError(texts.SERVER_NOT_FOUND, frozenset({"host", "port"}))
        case TlsFailed():
            return FormError(
                f"The mail server of {name} does not prove who it is (its certificate is not in order), "
                "so your password was not sent. Tell the application's support.",
                _NONE,
            )
        case _:
            return FormError(f"The mail server of {name} does not answer. Try again in a few minutes.", _NONE)


_NONE: frozenset[str] = frozenset()


def printable(text: str) -> str:
    """The text without what a form field cannot hold."""
    return "".join(char for char in text if char.isprintable()).strip()


def _known(user: User) -> dict[str, str]:
    """What is known before anything was typed."""
    port = str(user.imap_port or IMAPS_PORT)
    return {"username": user.login_username or user.email or "", "host": user.imap_host or "", "port": port}


def _port(text: str) -> int | None:
    """The number that was typed; none is as usual. Raises Invalid."""
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 5:
        raise Invalid("port", f"should be a number, mostly {IMAPS_PORT}")
    return int(text)


def _field(column: str) -> str:
    """The field of the form whose value would be stored in this column."""
    return next(name for name, (_, stored) in FORM_FIELDS.items() if stored == column)
