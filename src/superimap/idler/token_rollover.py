"""Roll-over of a session to a new access token before its own expires, at a moment of its own."""

import asyncio
import logging
from collections.abc import Callable
from random import random
from types import TracebackType
from typing import Self

from superimap.core.crypto import VaultError
from superimap.db.postgres import UNAVAILABLE
from superimap.idler.access_tokens import AccessToken, AccessTokens
from superimap.idler.token_pauses import CLIENT_PAUSE_SECONDS
from superimap.oauth import token_lifetime
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

TEMPORARY_ERRORS: tuple[type[BaseException], ...] = (TokenUnavailable, *UNAVAILABLE)

log = logging.getLogger(__name__)


class TokenRollover:
    """In the block, call `stop_session` once a new token is stored, or once it is certain that there will be none.

    While no new token is available for a reason that may pass, the session continues with the old one, as long as
    the mail server permits. `refused` is the error that ended the grant. Without a token this does nothing.
    """

    __slots__ = ("_stop_session", "_task", "_timer", "_token", "_tokens", "_user_id", "refused")

    def __init__(
        self, tokens: AccessTokens, user_id: int, token: AccessToken | None, stop_session: Callable[[], None]
    ) -> None:
        self._tokens = tokens
        self._user_id = user_id
        self._token = token
        self._stop_session = stop_session
        self._timer: asyncio.TimerHandle | None = None  # a waiting task would cost each session kilobytes
        self._task: asyncio.Task[None] | None = None
        self.refused: TokenRefused | VaultError | None = None

    async def __aenter__(self) -> Self:
        if self._token is not None:
            seconds = self._token.rollover_delay(random())  # noqa: S311 - no secret
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin, self._token)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self, token: AccessToken) -> None:
        self._task = asyncio.create_task(self._prepare(token), name=f"roll-over {self._user_id}")

    async def _prepare(self, token: AccessToken) -> None:
        """Have a new token stored for the next session, then stop this session."""
        while True:
            try:
                await self._tokens.get(self._user_id, after=token)
                break
            except (TokenRefused, VaultError) as error:
                if isinstance(error, VaultError) or not error.keeps_current_token:
                    self.refused = error
                    break
                longer = min(CLIENT_PAUSE_SECONDS, token.lifetime / 10)
                reason, pause = str(error), longer if error.is_certain else 0.0
            except TEMPORARY_ERRORS as error:
                reason, pause = str(error), getattr(error, "retry_after", None) or 0.0
            log.info("no new access token yet: %s", reason, extra={"user_id": self._user_id})
            await asyncio.sleep(pause + token_lifetime.token_retry_delay(token.lifetime, random()))  # noqa: S311
        self._stop_session()
