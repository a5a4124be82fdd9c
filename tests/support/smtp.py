"""A real SMTP server on loopback, with STARTTLS and AUTH, that delivers mails to a function."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

Deliver = Callable[[str, bytes], object]


@dataclass
class Submission:
    """The handler and authenticator of the server.

    `answers` are given instead of taking a mail, by recipient. A mail to an address in `loses` is accepted and
    delivered nowhere. `accepted` are the recipients of the mails that were taken, `refused` the names of
    logins with a wrong password.
    """

    deliver: Deliver
    passwords: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    loses: set[str] = field(default_factory=set)
    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    port: int = 0

    async def handle_DATA(self, _server: object, _session: Session, envelope: Envelope) -> str:
        """Deliver a mail to its recipients."""
        (to,) = envelope.rcpt_tos
        if to in self.answers:
            return self.answers[to]
        self.accepted.append(to)
        if to not in self.loses:
            self.deliver(to, envelope.content)
        return "250 2.0.0 queued"

    def authenticate(
        self, _server: object, _session: object, _envelope: object, mechanism: str, data: Any
    ) -> AuthResult:
        """Check a name and a password."""
        if not isinstance(data, LoginPassword) or mechanism not in ("PLAIN", "LOGIN"):
            return AuthResult(success=False, handled=False)
        is_right = self.passwords.get(data.login.decode()) == data.password.decode()
        if not is_right:
            self.refused.append(data.login.decode())
        return AuthResult(success=is_right, handled=False)


@contextlib.contextmanager
def running(deliver: Deliver, folder: Path) -> Iterator[Submission]:
    """An SMTP server with the certificate of `folder` (cert.pem, key.pem), in a thread of its own."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    submission = Submission(deliver)
    controller = Controller(
        submission,
        hostname="127.0.0.1",
        port=_free_port(),
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=submission.authenticate,
    )
    controller.start()
    try:
        submission.port = controller.port
        yield submission
    finally:
        controller.stop()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
