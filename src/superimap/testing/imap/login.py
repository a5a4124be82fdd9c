"""Greeting, capabilities, STARTTLS, LOGIN, SASL, and the commands that are valid in any state."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable

from superimap.testing.imap.mailbox import FakeAccount
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import Bad, ClientCommand, No

_FAILED = "[AUTHENTICATIONFAILED] Invalid credentials (Failure)"
_BEARER = re.compile(rb"auth=Bearer ([^\x01]*)\x01", re.IGNORECASE)
_XOAUTH2_USER = re.compile(rb"\Auser=([^\x01]*)\x01")
_OAUTHBEARER_USER = re.compile(rb"\A[nyp][^,]*,a=([^,]*),\x01")


def capabilities(session: FakeSession) -> bytes:
    """Return the capabilities that the server offers to this session now (RFC 9051 section 7.2.2)."""
    server, words = session.server, list(session.server.capabilities)
    if session.account is not None:
        words = [word for word in words if not word.startswith("AUTH=") and word != "SASL-IR"]
        if session.account.gmail:
            words.append("X-GM-EXT-1")
    elif not session.tls:
        if server.starttls is not None:
            words.append("STARTTLS")
        if not server.plaintext_login:
            words = [word for word in words if not word.startswith("AUTH=")] + ["LOGINDISABLED"]
    return " ".join(words).encode("ascii")


def greet(session: FakeSession) -> bytes:
    """Return the greeting of a server that obeys the protocol."""
    return b"* OK [CAPABILITY %s] SuperIMAP test server ready\r\n" % capabilities(session)


def capability(session: FakeSession, _command: ClientCommand) -> str:
    session.send(b"* CAPABILITY %s\r\n" % capabilities(session))
    return "CAPABILITY completed"


def noop(_session: FakeSession, command: ClientCommand) -> str:
    return f"{command.name} completed"


def logout(session: FakeSession, command: ClientCommand) -> None:
    session.send(b"* BYE Logging out\r\n")
    session.leave()
    session.finish(command, b"OK", "LOGOUT completed")
    session.close()


def identify(session: FakeSession, _command: ClientCommand) -> str:
    session.send(b'* ID ("name" "superimap-testing")\r\n')
    return "ID completed"


def enable(session: FakeSession, command: ClientCommand) -> str:
    """ENABLE (RFC 5161). Only UTF8=ACCEPT (RFC 6855) can be enabled."""
    wanted = {command.text(index).upper() for index in range(len(command.arguments))}
    enabled = wanted & {b"UTF8=ACCEPT"} if "UTF8=ACCEPT" in session.server.capabilities else set()
    session.utf8 = session.utf8 or bool(enabled)
    session.send(b" ".join([b"* ENABLED", *enabled]) + b"\r\n")
    return "ENABLE completed"


def idle(session: FakeSession, command: ClientCommand) -> None:
    if "IDLE" not in session.server.capabilities:
        raise Bad("Unknown command")
    session.idle(command.tag)


def starttls(session: FakeSession, command: ClientCommand) -> None:
    context = session.server.starttls
    if context is None or session.tls:
        raise Bad("STARTTLS is not available")
    session.finish(command, b"OK", "Begin TLS negotiation now")
    session.start(session.upgrade(context))


def login(session: FakeSession, command: ClientCommand) -> str:
    username, password = (command.text(index).decode("utf-8", "replace") for index in (0, 1))
    _require_privacy(session)
    return _admit(session, session.server.check_password(username, password))


def _require_privacy(session: FakeSession) -> None:
    if not session.tls and not session.server.plaintext_login:
        raise No("[PRIVACYREQUIRED] Use STARTTLS first")


def _admit(session: FakeSession, account: FakeAccount | None) -> str:
    if account is None:
        session.server.failed_logins += 1
        raise No(_FAILED)
    session.server.logins += 1
    session.account = account
    return f"[CAPABILITY {capabilities(session).decode()}] Logged in"


def authenticate(session: FakeSession, command: ClientCommand) -> str | None:
    """AUTHENTICATE with or without an initial response (SASL-IR, RFC 4959)."""
    mechanism = command.text(0).upper().decode("latin-1")
    if mechanism == "LOGIN" and "AUTH=LOGIN" in session.server.capabilities:
        _require_privacy(session)
        session.ask(b"VXNlcm5hbWU6", lambda line: _ask_password(session, command, line))
        return None
    check = _MECHANISMS.get(mechanism)
    if check is None or f"AUTH={mechanism}" not in session.server.capabilities:
        raise No("[CANNOT] Unknown mechanism")
    _require_privacy(session)
    if len(command.arguments) > 1:
        initial = command.text(1)
        return _answered(session, command, check, b"" if initial == b"=" else initial)
    session.ask(b"", lambda line: _later(session, command, check, line))
    return None


def _ask_password(session: FakeSession, command: ClientCommand, user: bytes) -> None:
    """Take the user name of SASL LOGIN, and ask for the password; both answers are checked as those of PLAIN."""

    def check(line: bytes) -> None:
        fields = [b"", *(base64.b64decode(each) for each in (user, line))]
        _later(session, command, _plain, base64.b64encode(b"\0".join(fields)))

    session.ask(b"UGFzc3dvcmQ6", check)


_Check = Callable[["FakeSession", bytes], "FakeAccount | None"]


def _later(session: FakeSession, command: ClientCommand, check: _Check, line: bytes) -> None:
    try:
        text = _answered(session, command, check, line)
    except (No, Bad) as refusal:
        session.finish(command, refusal.status, str(refusal))
    else:
        if text is not None:
            session.finish(command, b"OK", text)
    session.server.changed()


def _answered(session: FakeSession, command: ClientCommand, check: _Check, line: bytes) -> str | None:
    if line == b"*":
        raise Bad("AUTHENTICATE cancelled")
    try:
        account = check(session, base64.b64decode(line, validate=True))
    except (binascii.Error, ValueError) as error:
        raise Bad("Cannot decode the response") from error
    if account is None and check is not _plain:
        challenge = _XOAUTH2_ERROR if check is _xoauth2 else _OAUTHBEARER_ERROR
        session.ask(base64.b64encode(challenge), lambda _line: _refused(session, command))
        return None
    return _admit(session, account)


# The client answers the challenge with an empty line or AQ==, and then receives NO (RFC 7628 section 3.2.3).
_SCOPE = "https://mail.google.com/"
_XOAUTH2_ERROR = json.dumps({"status": "400", "schemes": "Bearer", "scope": _SCOPE}).encode()
_OAUTHBEARER_ERROR = json.dumps({"status": "invalid_token", "scope": _SCOPE}).encode()


def _refused(session: FakeSession, command: ClientCommand) -> None:
    session.server.failed_logins += 1
    session.finish(command, b"NO", _FAILED)
    session.server.changed()


def _plain(session: FakeSession, response: bytes) -> FakeAccount | None:
    """Check PLAIN (RFC 4616): authorisation identity, user, password."""
    fields = response.split(b"\0")
    if len(fields) != 3:
        raise ValueError("PLAIN has three fields")
    return session.server.check_password(fields[1].decode("utf-8"), fields[2].decode("utf-8"))


def _xoauth2(session: FakeSession, response: bytes) -> FakeAccount | None:
    return _bearer(session, _XOAUTH2_USER.search(response), response)


def _oauthbearer(session: FakeSession, response: bytes) -> FakeAccount | None:
    """Check OAUTHBEARER (RFC 7628 section 3.1)."""
    return _bearer(session, _OAUTHBEARER_USER.search(response), response)


def _bearer(session: FakeSession, user: re.Match[bytes] | None, response: bytes) -> FakeAccount | None:
    token = _BEARER.search(response)
    if user is None or token is None:
        raise ValueError("the response needs a user and a bearer token")
    name, text = user[1].decode("utf-8"), token[1].decode("utf-8")
    account = session.server.check_token(name, text)
    if account is not None:
        session.server.end_in_time(session, name, text)
    return account


_MECHANISMS: dict[str, _Check] = {"PLAIN": _plain, "XOAUTH2": _xoauth2, "OAUTHBEARER": _oauthbearer}
