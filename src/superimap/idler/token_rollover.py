"""How does a session come back before its access token expires? With a new one in hand, at a moment of its own."""

import asyncio
import logging
from collections.abc import Callable
from random import random
from types import TracebackType
from typing import Self

from superimap.core.crypto import VaultError
from superimap.db.postgres import UNAVAILABLE
from superimap.idler.access_tokens import CLIENT_PAUSE, Access, Tokens
from superimap.oauth import token_lifetime
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

PASSING: tuple[type[BaseException], ...] = (TokenUnavailable, *UNAVAILABLE)

log = logging.getLogger(__name__)


class TokenRollover:
    """For the length of a session: has it `leave` once there is a new token, or once there will be none.

    While none can be had for a reason that may pass, the session goes on with the old token, as long as the
    mail server lets it. `refused` is what ended the grant. Without a token nothing ever happens.
    """

    __slots__ = ("_access", "_leave", "_task", "_timer", "_tokens", "_user_id", "refused")

    def __init__(
        self, tokens: Tokens, user_id: int, access: Access | None, leave: Callable[[], None]
    ) -> None:
        self._tokens = tokens
        self._user_id = user_id
        self._access = access
        self._leave = leave
        self._timer: asyncio.TimerHandle | None = (
            None  # a task would cost each session kilobytes, for an hour
        )
        self._task: asyncio.Task[None] | None = None
        self.refused: TokenRefused | VaultError | None = None

    async def __aenter__(self) -> Self:
        if self._access is not None:
            seconds = self._access.rolls_over_in(random())  # noqa: S311 - no secret
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin, self._access)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self, access: Access) -> None:
        self._task = asyncio.create_task(self._prepare(access), name=f"roll-over {self._user_id}")

    async def _prepare(self, access: Access) -> None:
        """Get another token, which is then kept for the next session, and have this one leave."""
        while True:
            try:
                await self._tokens.get(self._user_id, after=access)
                break
            except (TokenRefused, VaultError) as error:
                if isinstance(error, VaultError) or not error.keeps_current_token:
                    self.refused = error
                    break
                said, wait = str(error), min(CLIENT_PAUSE, access.life / 10)
            except PASSING as error:
                said, wait = str(error), getattr(error, "retry_after", None) or 0.0
            log.info("no new access token yet: %s", said, extra={"user_id": self._user_id})
            await asyncio.sleep(wait + token_lifetime.retry_delay(access.life, random()))  # noqa: S311 - no secret
        self._leave()
