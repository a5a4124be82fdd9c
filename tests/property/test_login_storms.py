"""No sequence of answers leads to a login storm: sessions in virtual time, against servers that let nobody in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superimap.db.watching.sessions import WatchedUser
from superimap.domain.logins import LoginHistory
from superimap.domain.providers import ProviderKind
from superimap.idler import session as session_module
from superimap.idler.limits import LoginLimiter
from superimap.idler.session import UserSession
from superimap.idler.timing import SessionTiming
from superimap.imap.errors import AuthenticationFailed, Disconnected, Refused, TimedOut
from superimap.imap.login_methods import LoginMemory

MAX_LOGINS_PER_HOUR = 30
MAX_LOGINS_IN_40_SECONDS = 4
HOUR, DAY = 3600.0, 86_400.0

ANSWERS: dict[str, tuple[float, Exception]] = {
    "closed": (0.0, Disconnected("connection closed by the server")),
    "bye": (0.01, Disconnected("closed by the server", "Too many login failures")),
    "silent": (60.0, TimedOut("LOGIN", 60.0)),
    "unavailable": (0.0, Refused("LOGIN", "NO", "try again later", "UNAVAILABLE")),
    "throttled": (0.0, Refused("LOGIN", "NO", "Suggested Backoff Time: 1 milliseconds")),
    "refused": (0.1, AuthenticationFailed("no", "AUTHENTICATIONFAILED")),
    "unclear": (0.1, AuthenticationFailed("busy or wrong password", is_certain=False)),
    "fault": (0.0, RuntimeError("a fault of ours")),
}


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None) -> Any:
            self.now += timeout or 0.0
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


class Table:
    """The user's row, as the statements of `watching.sessions` change it."""

    def __init__(self, *, was_accepted: bool) -> None:
        self.was_accepted = was_accepted
        self.refusals, self.refused_since, self.retry_at = 0, 0.0, 0.0

    async def load(self, _pool: object, _user_id: int) -> Mock:
        now = asyncio.get_running_loop().time()
        history = LoginHistory(
            self.was_accepted, self.refusals, now - self.refused_since if self.refusals else 0.0
        )
        return Mock(
            spec=WatchedUser, version=1, history=history, wait=max(0.0, self.retry_at - now), imap_host="h",
            provider_kind=ProviderKind.PLAIN, logins_per_second=None, has_own_server=False, is_held=False,
        )  # fmt: skip

    async def record_status(
        self, *_: Any, retry_in: float | None = None, is_refusal: bool = False, **__: Any
    ) -> None:
        now = asyncio.get_running_loop().time()
        self.retry_at = now + (retry_in or 0.0)
        if is_refusal:
            self.refused_since = self.refused_since if self.refusals else now
            self.refusals += 1

    async def record_refusal(self, *_: Any, retry_in: float, **__: Any) -> bool:
        await self.record_status(retry_in=retry_in, is_refusal=True)
        return False


@contextlib.contextmanager
def patched(table: Table, connect: Any) -> Iterator[None]:
    """Give the module of sessions a table instead of PostgreSQL, and a server instead of the network."""
    names = {
        "watching": table, "connect": connect, "load_credentials": _credentials,
        "log": SimpleNamespace(info=_ignore, exception=_ignore, error=_ignore),
    }  # fmt: skip
    before = {name: getattr(session_module, name) for name in names}
    try:
        for name, value in names.items():
            setattr(session_module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(session_module, name, value)


async def _credentials(*_: object) -> tuple[object, None]:
    return object(), None


def _ignore(*_: object, **__: object) -> None: ...


def logins_of_a_day(answers: list[str], *, was_accepted: bool) -> list[float]:
    """Return the times at which one session sends credentials to a server that repeats these answers."""
    sent: list[float] = []
    following = cycle(answers)

    @contextlib.asynccontextmanager
    async def connect(*_: Any, login_memory: LoginMemory, **__: Any) -> AsyncIterator[None]:
        login_memory.begin()
        login_memory.submit()
        sent.append(asyncio.get_running_loop().time())
        seconds, error = ANSWERS[next(following)]
        await asyncio.sleep(seconds)
        raise error
        yield

    context: Any = Mock()  # of which a login uses no more than this
    context.timing, context.logins = SessionTiming(), LoginLimiter(rate=100.0, at_once=50)
    context.tokens.forget = AsyncMock()
    with (
        patched(Table(was_accepted=was_accepted), connect),
        asyncio.Runner(loop_factory=JumpingLoop) as runner,
        contextlib.suppress(TimeoutError),
    ):
        runner.run(asyncio.wait_for(UserSession(context, 1, 1).run(), DAY))
    return sent


def most_within(seconds: float, times: list[float]) -> int:
    return max(sum(begin <= time < begin + seconds for time in times) for begin in times)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    answers=st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=12), was_accepted=st.booleans()
)
def test_no_sequence_of_answers_leads_to_more_than_30_logins_in_an_hour_and_4_in_40_s(answers, was_accepted):
    times = logins_of_a_day(answers, was_accepted=was_accepted)

    assert len(times) > 4  # refused or not, it is tried again
    assert most_within(HOUR, times) <= MAX_LOGINS_PER_HOUR
    assert most_within(40.0, times) <= MAX_LOGINS_IN_40_SECONDS


def test_refused_credentials_are_sent_a_few_times_in_the_first_hour():
    assert most_within(HOUR, logins_of_a_day(["refused"], was_accepted=False)) <= 5
