"""Cases about a whole session: black holes, BYE, refused logins, throttling, restarts."""

from __future__ import annotations

import asyncio

from superimap.testing.chaos.case import ArmedCase, case
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand

FAREWELLS = (
    b"* BYE Session expired, please login again.\r\n",
    b"* BYE Session invalidated - AccessTokenExpired\r\n",
    b"* BYE Autologout; idle for too long\r\n",
)


async def never() -> bytes:
    """Wait until the connection ends."""
    await asyncio.get_running_loop().create_future()
    return b""


def _black_hole(arm: ArmedCase, delay: float) -> None:
    """Make sessions unresponsive after `delay` seconds of IDLE: they neither read nor send, and get no FIN."""
    swallowed: set[int] = set()

    async def swallow(session: FakeSession, _command: ClientCommand) -> bytes | None:
        return await never() if session.id in swallowed else None

    arm.in_idle(lambda session: swallowed.add(session.id), delay=delay)
    arm.always("*", swallow)
    arm.pushing(lambda session, data: None if session.id in swallowed else data)


@case("C01 black hole in idle")
def black_hole_in_idle(arm: ArmedCase) -> None:
    """In IDLE the server becomes permanently unresponsive: no push, no answer to DONE, no FIN."""
    _black_hole(arm, 0.0)


@case("C02 nat drops the flow")
def nat_drops_the_flow(arm: ArmedCase) -> None:
    """The server becomes unresponsive after `seconds` (240) of IDLE, as behind a NAT that drops the flow."""
    _black_hole(arm, float(arm.option("seconds", 240.0)))


@case("C05 bye in idle")
def bye_in_idle(arm: ArmedCase) -> None:
    """The server sends BYE after `seconds` (0) of IDLE: session expired, token expired, autologout."""

    def leave(session: FakeSession) -> None:
        session.send(arm.chance(session).choice(FAREWELLS))
        session.close()

    arm.in_idle(leave, delay=float(arm.option("seconds", 0.0)))


@case("C06 idle ended by the server")
def idle_ended_by_the_server(arm: ArmedCase) -> None:
    """The server ends the IDLE after `seconds` (600) with a tagged OK; the session continues."""
    arm.in_idle(lambda session: session.end_idle(), delay=float(arm.option("seconds", 600.0)))


@case("C15 too many connections")
def too_many_connections(arm: ArmedCase) -> None:
    """Logins are refused: too many simultaneous connections."""

    async def refuse(_session: FakeSession, command: ClientCommand) -> bytes:
        return command.tag + b" NO [ALERT] Too many simultaneous connections. (Failure)\r\n"

    arm.on("LOGIN,AUTHENTICATE", refuse)


@case("C16 throttled with a figure")
def throttled_with_a_figure(arm: ArmedCase) -> None:
    """Commands (`at`) are refused with Exchange's suggested backoff time, `ms` (92415) milliseconds."""
    figure = int(arm.option("ms", 92_415))

    async def refuse(_session: FakeSession, command: ClientCommand) -> bytes:
        text = b"Request is throttled. Suggested Backoff Time: %d milliseconds" % figure
        return command.tag + b" NO " + text + b"\r\n"

    arm.on(str(arm.option("at", "LOGIN,AUTHENTICATE,EXAMINE,UID SEARCH,UID FETCH")), refuse)


@case("C17 throttled by delays")
def throttled_by_delays(arm: ArmedCase) -> None:
    """Commands are answered `seconds` (30) late, with [THROTTLED] in their OK."""
    seconds = float(arm.option("seconds", 30.0))

    async def delay(session: FakeSession, command: ClientCommand) -> bytes:
        await asyncio.sleep(seconds)
        answer = session.usual_answer(command)
        return answer.replace(command.tag + b" OK ", command.tag + b" OK [THROTTLED] ", 1)

    arm.on(str(arm.option("at", "EXAMINE,UID SEARCH,UID FETCH")), delay)


@case("C17 throttled")
def throttled(arm: ArmedCase) -> None:
    """Commands are refused with [THROTTLED] and without a backoff time."""

    async def refuse(_session: FakeSession, command: ClientCommand) -> bytes:
        return command.tag + b" NO [THROTTLED] Account is rate limited.\r\n"

    arm.on(str(arm.option("at", "LOGIN,AUTHENTICATE,EXAMINE,UID SEARCH,UID FETCH")), refuse)


@case("C19 authenticated but not connected")
def authenticated_but_not_connected(arm: ArmedCase) -> None:
    """The login succeeds, and then every command is answered BAD, as by Exchange."""

    async def refuse(_session: FakeSession, command: ClientCommand) -> bytes:
        return command.tag + b" BAD User is authenticated but not connected.\r\n"

    arm.on("LIST,EXAMINE,SELECT,STATUS,IDLE", refuse)


@case("C20 access token expires")
def access_token_expires(arm: ArmedCase) -> None:
    """In IDLE the account's access tokens expire: the server sends BYE, and accepts them no more."""

    def expire(session: FakeSession) -> None:
        if session.account is not None:
            session.account.tokens.clear()
        session.send(b"* BYE Session invalidated - AccessTokenExpired\r\n")
        session.close()

    arm.in_idle(expire, delay=float(arm.option("seconds", 0.0)))


@case("C21 authentication failed")
def authentication_failed(arm: ArmedCase) -> None:
    """The login is refused permanently."""

    async def refuse(_session: FakeSession, command: ClientCommand) -> bytes:
        return command.tag + b" NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)\r\n"

    arm.on("LOGIN,AUTHENTICATE", refuse)


@case("C21 login unavailable")
def login_unavailable(arm: ArmedCase) -> None:
    """The login is refused temporarily."""

    async def refuse(_session: FakeSession, command: ClientCommand) -> bytes:
        return command.tag + b" NO [UNAVAILABLE] Temporary authentication failure.\r\n"

    arm.on("LOGIN,AUTHENTICATE", refuse)


@case("C36 server restarts")
def server_restarts(arm: ArmedCase) -> None:
    """After `seconds` (0) every connection is reset; for `down` seconds (1) new ones are refused."""
    server, down = arm.server, float(arm.option("down", 1.0))

    async def restart() -> None:
        await asyncio.sleep(float(arm.option("seconds", 0.0)))
        await server.refuse()
        for session in tuple(server.sessions):
            arm.record_strike(session, "reset")
            session.reset()
        await asyncio.sleep(down)
        await server.listen()

    arm.option("seconds", 0.0)
    server.spawn(restart())
