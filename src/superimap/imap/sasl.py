"""Authentication: LOGIN, and SASL PLAIN, XOAUTH2 and OAUTHBEARER (RFC 4616, 7628)."""

from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from json import JSONDecodeError, loads

from superimap.imap.command import Command
from superimap.imap.encoding import quote_string
from superimap.imap.errors import AuthenticationFailed, Disconnected, ImapError, Refused
from superimap.imap.protocol import Protocol
from superimap.imap.statuses import CommandResult, decode_text
from superimap.imap.types import Credentials, Login, OAuth

_PERMANENT_CODES = {
    "AUTHENTICATIONFAILED",
    "AUTHORIZATIONFAILED",
    "EXPIRED",
    "PRIVACYREQUIRED",
    "WEBALERT",
    "CONTACTADMIN",
}
_TEMPORARY_CODES = {"UNAVAILABLE", "INUSE", "LIMIT", "THROTTLED", "OVERQUOTA", "SERVERBUG", "CLIENTBUG"}
_TEMPORARY_WORDS = (
    "too many", "simultaneous", "throttl", "tempora", "try again", "later", "unavailable", "timeout",
    "timed out", "limit", "internal", "busy", "overload", "not connected", "backend",
)  # fmt: skip


@dataclass(slots=True)
class _Exchange:
    """The state of a SASL exchange: responses to be sent, and the server's refusal."""

    answers: list[bytes] = field(repr=False)
    refusal: bytes = b""
    detail: str | None = None

    def challenge(self, text: bytes) -> bytes:
        """Answer a "+": the first by the initial response; a later one carries the provider's refusal in JSON."""
        if self.answers:
            return self.answers.pop(0)
        try:
            self.detail = decode_text(b64decode(text, validate=True))
        except ValueError:
            self.detail = decode_text(text)
        return self.refusal


async def authenticate(protocol: Protocol, credentials: Credentials, *, within: float) -> None:
    """Log in.

    Raises AuthenticationFailed if only other credentials can help, Refused if these may be accepted later, and
    Disconnected, TimedOut, ProtocolError or LimitExceeded as any command.
    """
    exchange = _Exchange([])
    command = _command(protocol, credentials, exchange)
    try:
        answer = await protocol.execute(command, within)
    except Disconnected as error:
        raise Disconnected(error.reason, _without_secret(error.bye or "", credentials) or None) from None
    if answer.result != "OK":
        raise _refusal(command.name, answer, exchange.detail, credentials)


def _command(protocol: Protocol, credentials: Credentials, exchange: _Exchange) -> Command:
    match credentials:
        case OAuth():
            mechanism = _mechanism(protocol, credentials)
            exchange.refusal = b"" if mechanism == "XOAUTH2" else b64encode(b"\1")
            return _sasl(protocol, mechanism, _bearer(credentials, mechanism), exchange)
        case Login(username=username, password=password):
            ascii_only = username.isascii() and password.isascii()
            disabled = "LOGINDISABLED" in protocol.capabilities
            if "AUTH=PLAIN" in protocol.capabilities and (disabled or not ascii_only):
                return _sasl(protocol, "PLAIN", _plain(credentials), exchange)
            if disabled:
                raise Refused("LOGIN", "NO", "the server accepts no password on this connection")
            return Command("LOGIN", protocol.new_tag(), quote_string(username), quote_string(password))


def _sasl(protocol: Protocol, mechanism: str, response: bytes, exchange: _Exchange) -> Command:
    """Build AUTHENTICATE, with the initial response if the server supports SASL-IR (RFC 4959)."""
    encoded = b64encode(response)
    if "SASL-IR" in protocol.capabilities:
        command = Command("AUTHENTICATE", protocol.new_tag(), mechanism, encoded.decode("ascii"))
    else:
        command = Command("AUTHENTICATE", protocol.new_tag(), mechanism)
        exchange.answers.append(encoded)
    command.challenge = exchange.challenge
    return command


def _mechanism(protocol: Protocol, credentials: OAuth) -> str:
    """Choose the requested mechanism, else the first that the server offers. Raises Refused."""
    wanted = (credentials.mechanism,) if credentials.mechanism else ("XOAUTH2", "OAUTHBEARER")
    for mechanism in wanted:
        if f"AUTH={mechanism}" in protocol.capabilities:
            return mechanism
    raise Refused("AUTHENTICATE", "NO", f"{' or '.join(wanted)} is not offered by the server")


def _bearer(credentials: OAuth, mechanism: str) -> bytes:
    user, token = credentials.username, credentials.access_token
    if any(ord(character) < 32 for character in user + token):
        raise ValueError("control characters are not allowed in OAuth credentials")
    if mechanism == "XOAUTH2":
        return f"user={user}\1auth=Bearer {token}\1\1".encode()
    name = user.replace("=", "=3D").replace(",", "=2C")  # RFC 5801 section 4
    return f"n,a={name},\1auth=Bearer {token}\1\1".encode()


def _plain(credentials: Login) -> bytes:
    if "\0" in credentials.username + credentials.password:
        raise ValueError("NUL is not allowed in credentials")
    return f"\0{credentials.username}\0{credentials.password}".encode()


def _refusal(command: str, answer: CommandResult, detail: str | None, credentials: Credentials) -> ImapError:
    """Build AuthenticationFailed for a permanent refusal, else Refused."""
    text, code = _without_secret(answer.status.text, credentials), answer.status.code
    if is_permanent(answer.result, code, text, detail):
        return AuthenticationFailed(text, code, detail and _without_secret(detail, credentials))
    return Refused(command, answer.result, text, code)


def is_permanent(result: str, code: str | None, text: str, detail: str | None = None) -> bool:
    """Whether the same credentials would be refused again, judged by status, code (RFC 5530), then wording."""
    if result == "BAD" or code in _TEMPORARY_CODES:
        return False
    if code in _PERMANENT_CODES:
        return True
    if detail is not None and (http := _http_status(detail)):
        return not http.startswith("5") and http != "429"
    return not any(word in text.lower() for word in _TEMPORARY_WORDS)


def _http_status(detail: str) -> str | None:
    try:
        answer = loads(detail)
    except (JSONDecodeError, RecursionError):
        return None
    return str(answer["status"]) if isinstance(answer, dict) and "status" in answer else None


def _without_secret(text: str, credentials: Credentials) -> str:
    """Remove the secret from a server's text: a hostile or careless server may echo it."""
    secret = credentials.password if isinstance(credentials, Login) else credentials.access_token
    return text.replace(secret, "…") if secret else text
