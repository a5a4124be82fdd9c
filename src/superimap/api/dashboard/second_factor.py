"""Second factor of operators: codes of an authenticator app (TOTP, RFC 6238), and recovery codes."""

import secrets
import time
from hashlib import sha256

import pyotp
from sqlalchemy import delete, insert, update

from superimap.api.dashboard.pages import Page
from superimap.core.crypto import Place, Vault, VaultError
from superimap.db.models import Operator, RecoveryCode

STEP_SECONDS = 30
ALLOWED_STEPS = (-1, 0, 1)
"""Steps beside the present one that are accepted, as clocks differ (RFC 6238 section 5.2)."""
RECOVERY_CODES = 10
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def _place(operator: Operator) -> Place:
    return Place("operators", "totp_seed", 0, str(operator.id))


def seal_seed(vault: Vault, operator: Operator, seed: str) -> bytes:
    """Return the seed, encrypted for the operator's row."""
    return vault.seal_text(seed, _place(operator))


def accepted_step(seed: str, code: str, *, now: float, last: int | None) -> int | None:
    """Return the time step of a code; None if the code is wrong, or not later than the `last` accepted step."""
    digits = code.replace(" ", "")
    totp = pyotp.TOTP(seed)
    for offset in ALLOWED_STEPS:
        step = int(now) // STEP_SECONDS + offset
        if secrets.compare_digest(totp.at(step * STEP_SECONDS), digits if digits.isascii() else ""):
            return step if last is None or step > last else None
    return None


async def accept(page: Page, operator: Operator, code: str) -> bool:
    """Accept a code of the app, or a recovery code, once. The operator's row is locked."""
    if operator.totp_seed is None:
        return False
    if "-" in code:
        return await _use_recovery_code(page, operator, code)
    try:
        seed = page.resources.vault.open_text(operator.totp_seed, _place(operator))
    except VaultError:
        return False
    step = accepted_step(seed, code, now=time.time(), last=operator.totp_step)
    if step is None:
        return False
    await page.db.execute(update(Operator).where(Operator.id == operator.id).values(totp_step=step))
    return True


async def new_recovery_codes(page: Page, operator: Operator) -> list[str]:
    """Replace the operator's recovery codes, and return the new ones, which cannot be read again."""
    codes = [_new_code() for _ in range(RECOVERY_CODES)]
    await page.db.execute(delete(RecoveryCode).where(RecoveryCode.operator_id == operator.id))
    rows = [{"operator_id": operator.id, "digest": _digest(code)} for code in codes]
    await page.db.execute(insert(RecoveryCode), rows)
    return codes


async def _use_recovery_code(page: Page, operator: Operator, code: str) -> bool:
    statement = (
        delete(RecoveryCode)
        .where(RecoveryCode.operator_id == operator.id, RecoveryCode.digest == _digest(code))
        .returning(RecoveryCode.digest)
    )
    return (await page.db.execute(statement)).one_or_none() is not None


def _new_code() -> str:
    """Return a code of 60 bits, in three groups."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(3))


def _digest(code: str) -> bytes:
    return sha256(f"recovery code\0{code.strip().lower()}".encode()).digest()
