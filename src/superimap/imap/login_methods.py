"""Ways to log in: the LOGIN command and the SASL mechanisms, in the order in which they are tried."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from superimap.imap.encoding import Argument, Literal, quote_string
from superimap.imap.types import Credentials, Login, OAuth

_ATOM = re.compile(r"[A-Za-z0-9!#$&'+,./:;<=>?@^_`|~-]+")  # without the atom-specials of RFC 9051 section 9
_BEARER_MECHANISMS = ("XOAUTH2", "OAUTHBEARER")

MAX_UNANSWERED_LOGINS = 2
"""After this number of logins in a row without an answer another method is tried, if the server offers one."""
_REFUSED = 1 << 30


@dataclass(frozen=True, slots=True)
class LoginMethod:
    """A command and its form. The command LOGIN has the forms quoted, literal and atom; AUTHENTICATE is followed
    by a mechanism, with the initial response (RFC 4959) or without.
    """

    command: str
    form: str
    has_initial_response: bool = False


_NO_FAILURES: Mapping[LoginMethod, int] = MappingProxyType({})  # of almost all users


class LoginMemory:
    """What the sessions of one user know about logging in at their server. Lost with the process.

    `has_submitted` says that the present login has sent credentials, and the server did not accept them yet.
    """

    __slots__ = ("_failures", "has_submitted")

    def __init__(self) -> None:
        # Logins in a row by this method that ended without an answer; _REFUSED: the server does not take it.
        self._failures: Mapping[LoginMethod, int] = _NO_FAILURES
        self.has_submitted = False

    def begin(self) -> None:
        """Begin a login: nothing is sent yet."""
        self.has_submitted = False

    def submit(self) -> None:
        """Note that credentials are sent."""
        self.has_submitted = True

    def accept(self, method: LoginMethod) -> None:
        """Note that a login by the method has succeeded."""
        self.has_submitted = False
        self._note(method, 0)

    def refuse(self, method: LoginMethod) -> None:
        """Note that the server does not take the method."""
        self._note(method, _REFUSED)

    def miss_answer(self, method: LoginMethod) -> None:
        """Note that the connection has ended, or nothing came, instead of an answer to the method."""
        self._note(method, self._failures.get(method, 0) + 1)

    def forget(self) -> None:
        """Forget all failures: every method was refused, so the next login tries them again."""
        self._failures = _NO_FAILURES

    def order(self, methods: list[LoginMethod]) -> list[LoginMethod]:
        """Return the methods that were not refused, those behind the others that stay without an answer.

        Some servers close the connection, or hang, when they get a command that they do not implement. A server
        that is down does the same to all methods: each is tried twice, and none is given up.
        """
        failures = self._failures
        if not failures:
            return methods
        left = [method for method in methods if failures.get(method, 0) < _REFUSED]
        return sorted(left, key=lambda method: failures.get(method, 0) // MAX_UNANSWERED_LOGINS)

    def _note(self, method: LoginMethod, failures: int) -> None:
        others = {key: value for key, value in self._failures.items() if key != method}
        self._failures = {**others, method: failures} if failures else others or _NO_FAILURES


def login_methods(credentials: Credentials, capabilities: frozenset[str]) -> list[LoginMethod]:
    """Return the methods that the server offers, the one to try first in front; empty if there is none.

    LOGIN comes first: some servers announce AUTH=PLAIN and do not implement it. Text beyond ASCII is defined for
    SASL only (RFC 4616), so there the mechanisms come first.
    """
    if isinstance(credentials, OAuth):
        wanted = (credentials.mechanism,) if credentials.mechanism else _BEARER_MECHANISMS
        return _sasl_methods(wanted, capabilities)
    commands = [] if "LOGINDISABLED" in capabilities else _command_methods(credentials)
    mechanisms = _sasl_methods(("PLAIN", "LOGIN"), capabilities)
    if not (credentials.username + credentials.password).isascii():
        return [*mechanisms, *commands]
    return [*commands[:1], *mechanisms, *commands[1:]]


def offered_mechanisms(capabilities: frozenset[str]) -> str:
    """Return the names of the SASL mechanisms that the server offers, for an error text."""
    return ", ".join(sorted(each[5:] for each in capabilities if each.startswith("AUTH="))) or "none"


def login_arguments(login: Login, form: str) -> tuple[Argument, Argument]:
    """Return the arguments of LOGIN. Raises ValueError on CR, LF or NUL."""
    quoted = quote_string(login.username), quote_string(login.password)
    if form == "atom":
        return login.username, login.password
    if form == "literal":
        return Literal(login.username.encode()), Literal(login.password.encode())
    return quoted


def sasl_responses(credentials: Credentials, mechanism: str) -> list[bytes]:
    """Return the responses of the mechanism in base64, in the order of the server's challenges.

    Raises ValueError on characters that would change the meaning of a response.
    """
    if isinstance(credentials, OAuth):
        return [b64encode(_bearer(credentials, mechanism))]
    user, password = credentials.username, credentials.password
    if "\0" in user + password:
        raise ValueError("NUL is not allowed in credentials")
    if mechanism == "LOGIN":
        return [b64encode(user.encode()), b64encode(password.encode())]
    return [b64encode(f"\0{user}\0{password}".encode())]


def _sasl_methods(mechanisms: tuple[str, ...], capabilities: frozenset[str]) -> list[LoginMethod]:
    methods = []
    for mechanism in mechanisms:
        if f"AUTH={mechanism}" in capabilities:
            if "SASL-IR" in capabilities and mechanism != "LOGIN":  # which begins with a challenge
                methods.append(LoginMethod("AUTHENTICATE", mechanism, has_initial_response=True))
            methods.append(LoginMethod("AUTHENTICATE", mechanism))
    return methods


def _command_methods(login: Login) -> list[LoginMethod]:
    arguments = quote_string(login.username), quote_string(login.password)
    if any(isinstance(each, Literal) for each in arguments):
        return [LoginMethod("LOGIN", "literal" if isinstance(arguments[0], Literal) else "quoted")]
    forms = ["quoted", "literal"]
    if _ATOM.fullmatch(login.username) and _ATOM.fullmatch(login.password):
        forms.append("atom")
    return [LoginMethod("LOGIN", form) for form in forms]


def _bearer(credentials: OAuth, mechanism: str) -> bytes:
    user, token = credentials.username, credentials.access_token
    if any(ord(character) < 32 for character in user + token):
        raise ValueError("control characters are not allowed in OAuth credentials")
    if mechanism == "XOAUTH2":
        return f"user={user}\1auth=Bearer {token}\1\1".encode()
    name = user.replace("=", "=3D").replace(",", "=2C")  # RFC 5801 section 4
    return f"n,a={name},\1auth=Bearer {token}\1\1".encode()
