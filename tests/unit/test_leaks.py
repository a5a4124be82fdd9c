"""Would a secret in a log be noticed?"""

import logging
from base64 import b64encode

import pytest

from superimap.core.crypto import Place, Vault, generate_key
from tests.support import leaks

SECRET = "correct-horse-7"
LOGGER = logging.getLogger("superimap.tests.leaks")


@pytest.fixture
def found():
    """What was found in the test; it is meant, and therefore forgotten."""
    yield leaks.watch.leaks
    leaks.watch.leaks.clear()


@pytest.mark.parametrize(
    "tell",
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
def test_a_secret_that_a_vault_sealed_is_noticed_in_any_part_of_a_record(found, tell):
    Vault.from_setting(generate_key()).seal(SECRET.encode(), Place("users", "login_password", 1, "1"))

    tell()

    assert len(found) == 1
    assert SECRET not in found[0]


def test_what_is_marked_and_the_vault_s_own_key_are_noticed(found):
    key = generate_key()
    Vault.from_setting(key)

    LOGGER.debug(f"{leaks.MARK}-anything")
    LOGGER.debug("ENCRYPTION_KEY=%s", key)

    assert len(found) == 2


def test_other_text_is_no_leak(found):
    leaks.Watch().plant("password")  # too plain a word

    LOGGER.debug("the password of %s was refused", "ann")

    assert not found
