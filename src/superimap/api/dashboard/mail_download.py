"""A mail as a file: decrypted after the transaction that records who takes it, and never shown by a browser."""

import asyncio
import base64
import json
import logging

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from superimap.api.errors import Problem, problem_response
from superimap.core.content_store import ContentStore, ContentStoreError, is_reference
from superimap.core.crypto import Vault, VaultError
from superimap.db.accounts.mail_contents import StoredContent

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class MailDownload(Response):
    """The answer with a mail. Its content is read when the answer is sent, which is after the commit."""

    def __init__(self, vault: Vault, contents: ContentStore, stored: StoredContent, message_id: int) -> None:
        super().__init__()
        self._vault = vault
        self._contents = contents
        self._stored = stored
        self._message_id = message_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the mail, or say why it cannot be read."""
        try:
            raw = await self._read()
        except (ContentStoreError, VaultError, ValueError, KeyError, TypeError) as error:
            kind = type(error).__name__
            log.warning(
                "content of a mail cannot be read", extra={"message_id": self._message_id, "error": kind}
            )
            await problem_response(_unreadable(error), scope)(scope, receive, send)
            return
        name = f'attachment; filename="mail-{self._message_id}.eml"'
        headers = {**HEADERS, "Content-Disposition": name}
        await Response(raw, headers=headers, media_type="message/rfc822")(scope, receive, send)

    async def _read(self) -> bytes:
        sealed, place = self._stored.sealed, self._stored.place
        if is_reference(sealed):
            sealed = await self._contents.get(sealed, place)
        return await asyncio.to_thread(lambda: raw_mail(self._vault.open(sealed, place)))


def raw_mail(content: bytes) -> bytes:
    """Return the exact bytes of the mail in the content of a webhook. Raises ValueError or KeyError."""
    fields = json.loads(content)
    if "rfc822_base64" in fields:
        return base64.b64decode(fields["rfc822_base64"], validate=True)
    return str(fields["rfc822"]).encode()


def _unreadable(error: Exception) -> Problem:
    if isinstance(error, ContentStoreError):
        return Problem(503, "The object store does not give the content of this mail at the moment.")
    return Problem(409, "The content of this mail does not decrypt with the keys of this process.")
