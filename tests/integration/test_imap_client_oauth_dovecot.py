"""Login by token at Dovecot, which asks the OAuth provider about each token."""

from __future__ import annotations

import contextlib
import json

import pytest

from superimap.imap.connection import connect
from superimap.imap.errors import AuthenticationFailed, Refused
from superimap.imap.types import OAuth, ServerAddress
from superimap.testing.oauth.server import OAuthServer
from tests.support.dovecot_oauth import trusting

ANN, BOB = "ann@example.com", "bob@example.com"
STATUS = {"XOAUTH2": "401", "OAUTHBEARER": "invalid_token"}


async def login(dovecot, credentials: OAuth) -> None:
    server = ServerAddress("localhost", dovecot.tls_port)
    async with connect(server, credentials, tls_context=dovecot.ssl_context()) as client:
        assert (await client.examine("INBOX")).exists == 1


async def login_error(dovecot, credentials: OAuth) -> dict[str, str]:
    """The server's refusal of the token."""
    with pytest.raises(AuthenticationFailed) as caught:
        await login(dovecot, credentials)
    assert credentials.access_token not in str(caught.value)
    error: dict[str, str] = json.loads(caught.value.detail or "")
    return error


def with_a_mail(dovecot, user: str) -> None:
    dovecot.add_user(user)
    dovecot.deliver(user, b"Subject: hello\r\n\r\nhello\r\n")


async def test_a_valid_token_opens_its_own_mailbox_by_either_mechanism():
    async with OAuthServer() as provider:
        with trusting(provider) as dovecot:
            with_a_mail(dovecot, ANN)
            hers, his = provider.grant(ANN).access_token, provider.grant(BOB).access_token
            provider.grant(ANN, scope="openid")
            without_scope = provider.records.tokens[-1].access_token

            for mechanism in (*STATUS, None):
                await login(dovecot, OAuth(ANN, hers, mechanism))
            for mechanism, status in STATUS.items():
                for token in ("made-up", his, without_scope):
                    error = await login_error(dovecot, OAuth(ANN, token, mechanism))
                    assert error["status"] == status
                    assert error["openid-configuration"].startswith(provider.url())
            provider.revoke(ANN)
            await login_error(dovecot, OAuth(ANN, hers))


@pytest.mark.parametrize("offered", STATUS)
async def test_the_mechanism_that_the_server_offers_is_used(offered):
    other = next(each for each in STATUS if each != offered)
    async with OAuthServer() as provider:
        with trusting(provider, mechanisms=offered.lower()) as dovecot:
            with_a_mail(dovecot, ANN)
            token = provider.grant(ANN).access_token

            await login(dovecot, OAuth(ANN, token))

            with pytest.raises(Refused, match=f"{other} is not offered"):
                await login(dovecot, OAuth(ANN, token, other))


async def test_an_unreachable_provider_causes_only_temporary_refusals():
    async with contextlib.AsyncExitStack() as servers:
        async with OAuthServer() as provider:
            dovecot = servers.enter_context(trusting(provider))
            with_a_mail(dovecot, ANN)
            token = provider.grant(ANN).access_token

        with pytest.raises(Refused):
            await login(dovecot, OAuth(ANN, token))
