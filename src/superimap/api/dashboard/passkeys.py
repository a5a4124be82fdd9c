"""Passkeys of operators (WebAuthn level 2): challenges, registrations and sign-ins, with the user verified."""

import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from superimap.api.dashboard.page import Page
from superimap.api.errors import Problem
from superimap.core.crypto import constant_time_equal
from superimap.db.models import Operator, Passkey
from superimap.db.operators import forms, passkeys

CHALLENGE_SECONDS = 300
"""Time for the browser and the person to answer a challenge."""
MAX_ANSWER_CHARACTERS = 20_000
_RP_NAME = "SuperIMAP"


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge for the browser: options as JSON, and the token that proves later that it was ours."""

    options: str
    token: str


def _webauthn() -> ModuleType:
    import webauthn  # noqa: PLC0415 - 10 MiB, which a process needs only once a passkey is used

    return webauthn


def host_of(page: Page) -> str | None:
    """Return the host name that passkeys are bound to; None for an IP address, for which there are none."""
    host = urlsplit(page.base).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host or None
    return None


async def offer_registration(page: Page, operator: Operator) -> Challenge:
    """Return a challenge with which the browser makes a new passkey for the operator."""
    lib, host = _webauthn(), _require_host(page)
    structs = lib.helpers.structs
    known = await passkeys.list_of(page.db, operator)
    challenge = secrets.token_bytes(32)
    options = lib.generate_registration_options(
        rp_id=host,
        rp_name=_RP_NAME,
        user_id=f"operator-{operator.id}".encode(),
        user_name=operator.email,
        challenge=challenge,
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.REQUIRED,
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=each.credential_id) for each in known],
    )
    return Challenge(lib.options_to_json(options), _token(page, challenge))


def offer_sign_in(page: Page) -> Challenge | None:
    """Return a challenge that any passkey of this host may answer; None where passkeys are impossible."""
    host = host_of(page)
    if host is None:
        return None
    challenge = secrets.token_bytes(32)
    options = {
        "challenge": _base64url(challenge),
        "rpId": host,
        "userVerification": "required",
        "timeout": CHALLENGE_SECONDS * 1000,
    }
    return Challenge(json.dumps(options), _token(page, challenge))


async def register(page: Page, operator: Operator, name: str) -> None:
    """Store the passkey that the browser has made. Raises Problem 422."""
    lib, challenge, answer = _webauthn(), await _use_challenge(page), _answer(page)
    try:
        verified = lib.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=_require_host(page),
            expected_origin=page.base,
            require_user_verification=True,
        )
    except lib.helpers.exceptions.WebAuthnException as error:
        raise _refused() from error
    await passkeys.add(
        page.db,
        operator,
        name=name or "passkey",
        credential_id=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
    )


async def verify(page: Page) -> Operator:
    """Return the operator whose passkey has answered the challenge, locked. Raises Problem 422."""
    lib, challenge, answer = _webauthn(), await _use_challenge(page), _answer(page)
    credential_id = _credential_id(lib, answer)
    found = await passkeys.find(page.db, credential_id)
    if found is None:
        raise _refused()
    operator, passkey = found
    await _verify_answer(page, lib, answer, challenge, passkey)
    return operator


async def _verify_answer(
    page: Page, lib: ModuleType, answer: dict[str, Any], challenge: bytes, passkey: Passkey
) -> None:
    try:
        verified = lib.verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=_require_host(page),
            expected_origin=page.base,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except lib.helpers.exceptions.WebAuthnException as error:
        raise _refused() from error
    await passkeys.note_use(page.db, passkey, sign_count=verified.new_sign_count)


def _answer(page: Page) -> dict[str, Any]:
    text = page.field("answer")
    try:
        answer = json.loads(text) if len(text) <= MAX_ANSWER_CHARACTERS else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise _refused()
    return answer


def _credential_id(lib: ModuleType, answer: dict[str, Any]) -> bytes:
    try:
        return bytes(lib.helpers.base64url_to_bytes(answer["rawId"]))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise _refused() from None


def _token(page: Page, challenge: bytes) -> str:
    text = f"{_base64url(challenge)}.{int(time.time())}"
    return f"{text}.{_mac(page.key, page.session, text)}"


async def _use_challenge(page: Page) -> bytes:
    """Return the challenge of the token in the form, which is used up. Raises Problem 422."""
    text, _, mac = page.field("challenge").rpartition(".")
    challenge, _, written = text.partition(".")
    matches = [
        constant_time_equal(_mac(key, page.session, text).encode(), mac.encode("utf-8", "replace"))
        for key in page.resources.link_keys
    ]
    if not any(matches) or time.time() - int(written) > CHALLENGE_SECONDS:
        raise Problem(422, "This took too long. Open the page again.", kind="old-form")
    used = hashlib.sha256(text.encode()).digest()
    if not await forms.use(page.db, used, timedelta(seconds=CHALLENGE_SECONDS)):
        raise _refused()
    return base64.urlsafe_b64decode(f"{challenge}=")


def _mac(key: bytes, session: bytes, text: str) -> str:
    return hmac.new(key, b"passkey\0" + session + text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _require_host(page: Page) -> str:
    host = host_of(page)
    if host is None:
        raise Problem(409, "Passkeys need a host name; this page was opened by an IP address.")
    return host


def _refused() -> Problem:
    return Problem(422, "This passkey is not accepted. Sign in with your password.", kind="passkey")
