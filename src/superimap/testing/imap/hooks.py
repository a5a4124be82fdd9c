"""Ready-made hooks for `ImapServer.on`; they can be combined."""

import asyncio
import re
from collections.abc import Callable

from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand


def answering(*lines: bytes) -> Hook:
    """Answer with these lines. `%(tag)s` is the command's tag: `answering(b"%(tag)s NO [INUSE] later")`."""

    async def hook(_session: FakeSession, command: ClientCommand) -> bytes:
        return b"".join(line.replace(b"%(tag)s", command.tag) + b"\r\n" for line in lines)

    return hook


def rewriting(pattern: bytes, replacement: bytes | Callable[[re.Match[bytes]], bytes]) -> Hook:
    """Answer as usual, with each match of the regular expression `pattern` replaced."""
    regex = re.compile(pattern, re.DOTALL)

    async def hook(session: FakeSession, command: ClientCommand) -> bytes:
        return regex.sub(replacement, session.usual_answer(command))

    return hook


def delaying(seconds: float) -> Hook:
    """Answer as usual, after `seconds`."""

    async def hook(_session: FakeSession, _command: ClientCommand) -> None:
        await asyncio.sleep(seconds)

    return hook


def hanging() -> Hook:
    """Never answer, and keep the connection open."""

    async def hook(_session: FakeSession, _command: ClientCommand) -> bytes:
        await asyncio.get_running_loop().create_future()
        return b""

    return hook


def ending(*, after: int | None = 0, reset: bool = False) -> Hook:
    """Send the first `after` bytes of the usual answer (None: all), then end the connection by FIN or RST."""

    async def hook(session: FakeSession, command: ClientCommand) -> bytes:
        session.send(session.usual_answer(command)[:after] if after != 0 else b"")
        if reset:
            session.reset()
        else:
            session.close()
        return b""

    return hook


def dripping(size: int, seconds: float) -> Hook:
    """Send the usual answer `size` bytes at a time, `seconds` apart."""

    async def hook(session: FakeSession, command: ClientCommand) -> bytes:
        answer = session.usual_answer(command)
        for start in range(0, len(answer), size):
            session.send(answer[start : start + size])
            await asyncio.sleep(seconds)
        return b""

    return hook


def only(hook: Hook, *, username: str | None = None, times: int | None = None) -> Hook:
    """Call `hook` for this user only, and at most `times` times; otherwise continue as usual."""
    left = times

    async def limited(session: FakeSession, command: ClientCommand) -> bytes | None:
        nonlocal left
        if left == 0 or (username is not None and session.username != username):
            return None
        if left is not None:
            left -= 1
        return await hook(session, command)

    return limited
