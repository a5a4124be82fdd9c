"""Second factor of operators: codes of an authenticator app (TOTP, RFC 6238), and recovery codes."""

import hmac
import secrets
import time
from hashlib import sha256
from io import BytesIO

import pyotp
import segno
from markupsafe import Markup

from superimap.api.dashboard.page import Page
from superimap.api.errors import Problem
from superimap.core.crypto import Place, Vault, VaultError, constant_time_equal
from superimap.db.models import Operator
from superimap.db.operators import factors

STEP_SECONDS = 30
ALLOWED_STEPS = (-1, 0, 1)
"""Steps beside the present one that are accepted, as clocks differ (RFC 6238 section 5.2)."""
OFFER_SECONDS = 1800
"""Time for which a seed that was shown can be confirmed."""
MAX_RECOVERY_CODES = 10
ISSUER = "SuperIMAP"
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def _place(operator: Operator) -> Place:
    return Place("operators", "totp_seed", 0, str(operator.id))


def new_seed() -> str:
    """Return a random seed of 160 bits in Base32 (RFC 4226 section 4)."""
    return pyotp.random_base32()


def seal_seed(vault: Vault, operator: Operator, seed: str) -> bytes:
    """Return the seed, encrypted for the operator's row."""
    return vault.seal_text(seed, _place(operator))


def accepted_step(seed: str, code: str, *, now: float, last: int | None) -> int | None:
    """Return the time step of a code; None if the code is wrong, or not later than the `last` accepted step."""
    digits = code.replace(" ", "")
    totp = pyotp.TOTP(seed)
    for offset in ALLOWED_STEPS:
        step = int(now) // STEP_SECONDS + offset
        if constant_time_equal(totp.at(step * STEP_SECONDS).encode(), digits.encode("utf-8", "replace")):
            return step if last is None or step > last else None
    return None


def present_step(seed: str, code: str) -> int | None:
    """Return the time step of a code of a new seed; None if it is wrong."""
    return accepted_step(seed, code, now=time.time(), last=None)


async def accept(page: Page, operator: Operator, code: str) -> bool:
    """Accept a code of the app, or a recovery code, once. The operator's row is locked."""
    if operator.totp_seed is None:
        return False
    if "-" in code:
        return await factors.use_recovery_code(page.db, operator, _digest(code))
    try:
        seed = page.resources.vault.open_text(operator.totp_seed, _place(operator))
    except VaultError:
        return False
    step = accepted_step(seed, code, now=time.time(), last=operator.totp_step)
    if step is None:
        return False
    await factors.note_step(page.db, operator, step)
    return True


async def new_recovery_codes(page: Page, operator: Operator) -> list[str]:
    """Replace the operator's recovery codes, and return the new ones, which cannot be read again."""
    codes = [_new_code() for _ in range(MAX_RECOVERY_CODES)]
    await factors.set_recovery_codes(page.db, operator, map(_digest, codes))
    return codes


def qr_code(operator: Operator, seed: str) -> Markup:
    """Return the QR code with which an app is set up, as SVG without a style of its own."""
    address = pyotp.TOTP(seed).provisioning_uri(name=operator.email, issuer_name=ISSUER)
    drawn = BytesIO()
    segno.make(address, error="m").save(
        drawn,
        kind="svg",
        xmldecl=False,
        svgns=True,
        svgclass="qr",
        lineclass=None,
        omitsize=True,
        title="QR code",
    )
    return Markup(drawn.getvalue().decode())  # noqa: S704 - drawn by a library out of our own text


def write_offer(page: Page, seed: str) -> str:
    """Return a token by which the form for a seed proves that this session was shown it, and when."""
    text = f"{seed}.{int(time.time())}"
    return f"{text}.{_offer_mac(page.key, page, text)}"


def read_offer(page: Page, offer: str) -> str:
    """Return the seed of a token of `write_offer`. Raises Problem 403."""
    text, _, mac = offer.rpartition(".")
    seed, _, written = text.partition(".")
    matches = [
        constant_time_equal(_offer_mac(key, page, text).encode(), mac.encode())
        for key in page.resources.link_keys
    ]
    if not any(matches) or time.time() - int(written) > OFFER_SECONDS:
        raise Problem(403, "This seed is too old. Open the page again.", kind="old-form")
    return seed


def _offer_mac(key: bytes, page: Page, text: str) -> str:
    return hmac.new(key, b"offer\0" + page.session + text.encode(), sha256).hexdigest()


def _new_code() -> str:
    """Return a code of 60 bits, in three groups."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(3))


def _digest(code: str) -> bytes:
    return sha256(f"recovery code\0{code.strip().lower()}".encode("utf-8", "replace")).digest()
