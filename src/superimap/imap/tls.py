"""TLS on a non-blocking socket, which OpenSSL reads and writes itself."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any


def wrap(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Return the socket with TLS, before the handshake."""
    return context.wrap_socket(
        sock,
        server_hostname=host,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=False,  # otherwise a reset would look like an orderly end
    )


async def shake_hands(
    sock: ssl.SSLSocket,
    loop: asyncio.AbstractEventLoop,
    charge: Callable[[float], float],
    is_closed: Callable[[], bool],
) -> None:
    """Perform the handshake. `charge` is given the seconds that it takes; `is_closed` says that the socket is."""
    while True:
        began = loop.time()
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            charge(loop.time() - began)
            await _ready(sock.fileno(), loop.add_reader, loop.remove_reader, is_closed)
        except ssl.SSLWantWriteError:
            await _ready(sock.fileno(), loop.add_writer, loop.remove_writer, is_closed)
        else:
            charge(loop.time() - began)
            return


async def _ready(
    file: int, add: Callable[..., None], remove: Callable[[int], Any], is_closed: Callable[[], bool]
) -> None:
    ready = asyncio.get_running_loop().create_future()
    add(file, _resolve, ready)
    try:
        await ready
    finally:
        if not is_closed():  # a closed descriptor may have been reused
            remove(file)


def holds_more(sock: socket.socket | None) -> bool:
    """Whether OpenSSL holds decrypted bytes, which no selector reports."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


def cause(error: OSError) -> Exception | None:
    """Return the error that ended the connection; None if the peer closed it, with or without close_notify.

    IMAP states the length of everything, so truncation cannot go unnoticed. Python's ssl reports a reset, or a
    timeout in the kernel, as an end of file without a reason.
    """
    if not isinstance(error, ssl.SSLEOFError):
        return error
    if error.reason == "UNEXPECTED_EOF_WHILE_READING":
        return None
    return ConnectionResetError("reset by the peer, or timed out")


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
