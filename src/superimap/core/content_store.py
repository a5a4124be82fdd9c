"""An object store (S3 and others) for large contents of webhooks, so that they are not written to PostgreSQL.

An object is a sealed value: encrypted, and bound to its row. The row has a reference instead, in the form
`version 3 (1) | key id (4) | nonce (12) | size of the object (8, big-endian)`. The name of the object is that of
partner and row, with the nonce: a mail that is read again writes another object, and never changes a recorded one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from superimap.core import metrics
from superimap.core.crypto import Place, sealing_key_id, sealing_nonce
from superimap.core.errors import SuperImapError
from superimap.core.setting_types import mask_password

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)

REFERENCE_BYTES = 25
"""Length of a reference. A sealed value is longer."""
WRITE_TIMEOUT_SECONDS = 20.0
READ_TIMEOUT_SECONDS = 5.0
"""Time for a small object to be read, with all retries."""
READ_BYTES_PER_SECOND = 2 * 1024 * 1024
"""A large object has more time, at this rate."""
MAX_READ_SECONDS = WRITE_TIMEOUT_SECONDS
"""What could be written can be read."""
PAUSE_SECONDS = 30.0
"""After a failure, contents stay in PostgreSQL for as long, so that mails do not wait for a store that is down."""
READ_PAUSE_SECONDS = 5.0
"""After a failure to read, nothing is read for as long, so that other webhooks do not wait for their turn."""
_REFERENCE_VERSION = 3
_NONCE = slice(5, 17)
_SIZE_BYTES = 8


class ContentStoreError(SuperImapError):
    """The object store is not configured or failed, or an object is gone. The text names no secret."""


class ContentStore:
    """Writes, reads and deletes contents. Without a URL nothing is written, and nothing can be read."""

    def __init__(self, url: str = "", *, min_bytes: int = 0) -> None:
        """`url` names a bucket and a folder, such as `s3://bucket/superimap`. Contents of `min_bytes` go there.

        Credentials, region and endpoint are read from the environment, as other clients of the store do.
        """
        self._store = _open(url) if url else None
        self._min_bytes = min_bytes
        self._pause = _Pause()

    async def put(self, sealed: bytes, place: Place) -> bytes:
        """Write a content, and return what its row holds: a reference, or the content itself.

        The content is returned if it is small, or if it cannot be written: then PostgreSQL keeps it.
        """
        if self._store is None or len(sealed) < self._min_bytes:
            return sealed
        if self._pause.lasts(longest_try=WRITE_TIMEOUT_SECONDS):
            return sealed
        reference = _reference(sealed)
        try:
            async with self._guarded("write", WRITE_TIMEOUT_SECONDS, pause=PAUSE_SECONDS):
                await self._store.put_async(_name(reference, place), sealed)
        except ContentStoreError as error:
            log.warning("content stays in PostgreSQL: %s", error, extra={"delivery_id": place.row})
            return sealed
        return reference

    async def get(self, reference: bytes, place: Place) -> bytes:
        """Return the content of a reference. Raises ContentStoreError."""
        if self._store is None:
            raise ContentStoreError("the content is in an object store, and CONTENT_STORE_URL is not set")
        size = int.from_bytes(reference[-_SIZE_BYTES:], "big")
        seconds = min(READ_TIMEOUT_SECONDS + size / READ_BYTES_PER_SECOND, MAX_READ_SECONDS)
        if self._pause.lasts(longest_try=seconds):
            raise ContentStoreError("the object store failed to read another content a moment ago")
        from obstore.exceptions import PermissionDeniedError  # noqa: PLC0415 - as in _open

        async with self._guarded("read", seconds, pause=READ_PAUSE_SECONDS):
            try:
                answer = await self._store.get_async(_name(reference, place))
            except PermissionDeniedError as error:  # Amazon's answer if it is missing and must not be listed
                raise FileNotFoundError(str(error)) from None
            if answer.meta["size"] != size:
                raise FileNotFoundError("the object has another size than the content")
            return bytes(await answer.bytes_async())

    async def delete(self, reference: bytes, place: Place) -> None:
        """Delete a content that is no longer needed; if that fails, the store's lifecycle rule does."""
        if self._store is None or self._pause.lasts(longest_try=READ_TIMEOUT_SECONDS):
            return
        try:
            async with self._guarded("delete", READ_TIMEOUT_SECONDS, pause=READ_PAUSE_SECONDS):
                await self._store.delete_async(_name(reference, place))
        except ContentStoreError as error:
            log.warning("content is left in the object store: %s", error, extra={"delivery_id": place.row})

    @asynccontextmanager
    async def _guarded(self, operation: str, seconds: float, *, pause: float) -> AsyncIterator[None]:
        """Limit the time of an operation, count its errors and turn them into ContentStoreError.

        After one, the store is left alone for `pause` seconds, unless it has answered.
        """
        try:
            async with asyncio.timeout(seconds):
                yield
            self._pause.end()
        except Exception as error:
            metrics.CONTENT_STORE_ERRORS.labels(operation).inc()
            if isinstance(error, FileNotFoundError):
                self._pause.end()
            else:
                self._pause.begin(pause)
            raise ContentStoreError(f"the object store failed to {operation}: {_first_line(error)}") from None


class _Pause:
    """The time after a failure for which a store is left alone. Then one operation at a time tries it again."""

    def __init__(self) -> None:
        self._is_failing = False
        self._until = 0.0

    def lasts(self, *, longest_try: float) -> bool:
        """Whether to leave the store alone. If not, and it failed last, the caller has `longest_try` seconds."""
        now = time.monotonic()
        if now < self._until:
            return True
        if self._is_failing:
            self._until = now + longest_try
        return False

    def begin(self, seconds: float) -> None:
        """The store has failed."""
        self._is_failing, self._until = True, time.monotonic() + seconds

    def end(self) -> None:
        """The store has answered."""
        self._is_failing, self._until = False, 0.0


def is_reference(content: bytes | None) -> bool:
    """Whether this content of a row is a reference to an object."""
    return content is not None and len(content) == REFERENCE_BYTES and content[0] == _REFERENCE_VERSION


def _open(url: str) -> ObjectStore:
    # Imported here: it is a library of 10 MiB, which most installations do not use.
    from obstore.store import from_url  # noqa: PLC0415

    limit = timedelta(seconds=WRITE_TIMEOUT_SECONDS)
    return from_url(
        url,
        client_options={
            "timeout": limit,
            "connect_timeout": timedelta(seconds=READ_TIMEOUT_SECONDS),
            "allow_http": os.environ.get("AWS_ALLOW_HTTP")
            == "true",  # not read where other options are given
        },
        retry_config={"max_retries": 2, "retry_timeout": limit},
    )


def _reference(sealed: bytes) -> bytes:
    size = len(sealed).to_bytes(_SIZE_BYTES, "big")
    return bytes((_REFERENCE_VERSION,)) + sealing_key_id(sealed) + sealing_nonce(sealed) + size


def _name(reference: bytes, place: Place) -> str:
    return f"{place.partner}/{place.row}-{reference[_NONCE].hex()}"


def _first_line(error: Exception) -> str:
    """The start of an error's text. The client's errors have several lines of details, and contain the address."""
    text = str(error).strip() or type(error).__name__
    return mask_password(text.splitlines()[0])[:200]
