"""A search of all logs, at any level, for all secrets that the tests create.

Known secrets are what a Vault encrypts, except mails and answers (so passwords, tokens, API keys, signing and
client secrets), the Vault's own keys, what `plant` is given, and any text that contains `MARK`. Each is searched
for as it is and within base64, as SASL sends it. Short secrets and plain words cannot be distinguished from
ordinary text, so tests use long ones.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from superimap.core import log
from superimap.core.crypto import Place, Vault

MARK = "s3cr3t"
CONTENTS = {"content", "body"}  # columns of mails and answers: large, and not secrets of this kind
PREFIX_CHARACTERS = 8
MIN_DIFFERENT_CHARACTERS = 6
_KEY_IN_QUERY = re.compile(r"\bapi_key=[^&\s\"]+")


class Watch:
    """The known secrets, and the places where one was logged."""

    def __init__(self) -> None:
        self._by_head: dict[str, set[str]] = {}
        self.leaks: list[str] = []

    def plant(self, secret: str) -> str:
        """Search for this secret from now on, unless it may be an ordinary word or number; returns it."""
        is_distinct = len(secret) >= PREFIX_CHARACTERS and len(set(secret)) >= MIN_DIFFERENT_CHARACTERS
        if is_distinct and any(map(str.isdigit, secret)):
            for form in (secret, *_in_base64(secret.encode())):
                self._by_head.setdefault(form[:PREFIX_CHARACTERS], set()).add(form)
        return secret

    def search(self, text: str, where: str) -> None:
        """Record a leak if `text` contains a secret."""
        if (found := MARK if MARK in text else self._secret_in(text)) is not None:
            before, _, _ = text.partition(found)
            self.leaks.append(f"{where}: …{before[-120:]}[{found[:4]}… of {len(found)} characters]…")

    def _secret_in(self, text: str) -> str | None:
        by_head = self._by_head
        for at in range(len(text) - PREFIX_CHARACTERS + 1):
            if (forms := by_head.get(text[at : at + PREFIX_CHARACTERS])) is not None:
                for form in forms:
                    if text.startswith(form, at):
                        return form
        return None

    def must_be_clean(self) -> None:
        """Fail if a secret was found since the last call."""
        found, self.leaks = self.leaks, []
        if found:
            pytest.fail("secrets were logged:\n" + "\n".join(found[:20]), pytrace=False)


def _in_base64(secret: bytes) -> Iterator[str]:
    """The forms of a secret within base64 of a longer text, without the edges that depend on its neighbours."""
    for before in range(3):
        lead, tail = (before * 8 + 5) // 6, 2 + (before + len(secret)) % 3
        inner = base64.b64encode(b"\0" * before + secret).decode().rstrip("=")[lead:-tail]
        if len(inner) >= PREFIX_CHARACTERS:
            yield inner


watch = Watch()
_formatter = log.TextFormatter()


@contextmanager
def watched() -> Iterator[None]:
    """Learn secrets from every Vault and search every log record of this process, for the length of the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Vault, "seal", _learning(Vault.seal))
        patch.setattr(Vault, "from_setting", classmethod(_learning_keys(Vault.from_setting)))
        patch.setattr(logging.Logger, "handle", _reading(logging.Logger.handle))
        yield


def listen() -> None:
    """Log at the lowest level, which a previous test may have changed."""
    logging.disable(logging.NOTSET)
    logging.getLogger().setLevel(logging.DEBUG)
    for name in ("superimap", "arq"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def _learning(seal: Any) -> Any:
    def learn(self: Vault, text: bytes, place: Place) -> bytes:
        if place.column not in CONTENTS:
            watch.plant(text.decode("utf-8", "replace"))
        sealed: bytes = seal(self, text, place)
        return sealed

    return learn


def _learning_keys(from_setting: Any) -> Any:
    def learn(cls: type[Vault], text: str) -> Vault:
        for part in text.split(","):
            watch.plant(part.strip())
        made: Vault = from_setting.__func__(cls, text)
        return made

    return learn


def _reading(handle: Any) -> Any:
    def read(self: logging.Logger, record: logging.LogRecord) -> None:
        text = _formatter.format(record)
        if (
            record.name == "httpx"
        ):  # a test's own client, which may put the key into the query: see docs/api.md
            text = _KEY_IN_QUERY.sub("api_key=", text)
        watch.search(text, f"{record.name} at {record.levelname}")
        handle(self, record)

    return read
