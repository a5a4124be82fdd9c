"""The search for secrets in logs finds each form of a secret, and nothing else."""

import logging
from base64 import b64encode

import pytest

from superimap.core.crypto import Place, Vault, generate_key
from tests.support import leaks

SECRET = "correct-horse-7"
LOGGER = logging.getLogger("superimap.tests.leaks")


@pytest.fixture
def found():
    """The leaks that the test causes on purpose; they are removed at its end."""
    yield leaks.watch.leaks
    leaks.watch.leaks.clear()


@pytest.mark.parametrize(
    "log_secret",
    [
        lambda: LOGGER.debug("sent %r", f'A1 LOGIN "ann" "{SECRET}"'.encode()),
        lambda: LOGGER.info("a constant sentence", extra={"line": SECRET}),
        lambda: LOGGER.error("failed", exc_info=ValueError(f"bad value {SECRET}")),
        lambda: LOGGER.debug("sent %s", b64encode(f"\0ann\0{SECRET}".encode())),
        lambda: LOGGER.debug("sent %s", b64encode(f"user=a\1auth=Bearer {SECRET}\1\1".encode())),
        lambda: logging.getLogger("asyncpg").debug("args: %s", (SECRET,)),
    ],
    ids=["argument", "field", "traceback", "plain", "bearer", "library"],
)
def test_a_secret_that_a_vault_encrypted_is_found_in_any_part_of_a_record(found, log_secret):
    Vault.from_setting(generate_key()).seal(SECRET.encode(), Place("users", "login_password", 1, "1"))

    log_secret()

    assert len(found) == 1
    assert SECRET not in found[0]


def test_marked_text_and_the_key_of_a_vault_are_found(found):
    key = generate_key()
    Vault.from_setting(key)

    LOGGER.debug(f"{leaks.MARK}-anything")
    LOGGER.debug("ENCRYPTION_KEY=%s", key)

    assert len(found) == 2


def test_ordinary_text_is_not_a_leak(found):
    leaks.Watch().plant("password")  # an ordinary word

    LOGGER.debug("the password of %s was refused", "ann")

    assert not found
