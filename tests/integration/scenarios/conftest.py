"""Six servers: the fake one and Dovecot, each without TLS, with STARTTLS and with TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
import trustme

from superimap.imap import transport
from superimap.testing import ImapServer
from tests.integration.scenarios.servers import Fake, MailServer, Real, Users
from tests.support.dovecot import Dovecot
from tests.support.tls import server_context

KINDS = ["fake-none", "fake-starttls", "fake-tls", "dovecot-none", "dovecot-starttls", "dovecot-tls"]


@pytest_asyncio.fixture(scope="session")
async def template(small_template: str) -> str:
    """These tests have few users."""
    return small_template


@dataclass(frozen=True)
class Trust:
    """The certificate of the fake server, and a context that trusts both servers."""

    shown: ssl.SSLContext
    context: ssl.SSLContext


@pytest.fixture(scope="session")
def fake_trust() -> Trust:
    authority = trustme.CA()
    context = transport.new_tls_context()
    authority.configure_trust(context)
    return Trust(server_context(authority), context)


@pytest.fixture(scope="session")
def dovecot_users(dovecot: Dovecot) -> Users:
    return Users(dovecot)


@pytest_asyncio.fixture(params=KINDS)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[MailServer]:
    """A mail server; each test runs against all six."""
    kind, _, tls = request.param.partition("-")
    if kind == "fake":
        trust: Trust = request.getfixturevalue("fake_trust")
        options = {"tls": trust.shown} if tls == "tls" else {}
        options |= {"starttls": trust.shown} if tls == "starttls" else {}
        async with ImapServer(**options) as imap:
            yield Fake(imap, tls, trust.context)
    else:
        users: Users = request.getfixturevalue("dovecot_users")
        yield Real(users, tls, users.dovecot.ssl_context())


@pytest.fixture
def trusting(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sessions of an idler trust the server."""
    monkeypatch.setattr(transport, "shared_tls_context", lambda: server.context)
