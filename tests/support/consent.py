"""Users who have consented at the fake OAuth 2.0 provider, and access tokens as a process gets them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fixtures.world import World
from superimap.core.egress import Guard
from superimap.db import engine, postgres
from superimap.db.accounts import connections, partners
from superimap.idler.access_tokens import AccessTokens
from superimap.oauth.http_client import guarded_client
from superimap.testing.oauth.server import OAuthServer

SECRET = "cl13nt-s3cret-of-acme"
APP_SCOPE = "https://outlook.example.com/.default"


def provider(**options: Any) -> OAuthServer:
    """An authorization server with our client registered; refresh tokens rotate by default."""
    server = OAuthServer(**{"rotates": True, "scopes": ("openid", "email", "mail", APP_SCOPE), **options})
    server.add_client(client_secret=SECRET)
    return server


@dataclass
class Consented:
    """A partner's connection to the provider."""

    world: World
    oauth: OAuthServer
    partner: partners.NewPartner
    app_only: bool = False

    async def user(self, email: str) -> int:
        """Create a connected user; returns its id. An app-only connection needs only the address."""
        fields: dict[str, Any] = {"tag": email.partition("@")[0], "email": email}
        if not self.app_only:
            fields["oauth2_refresh_token"] = self.oauth.grant(email).refresh_token
        (user,) = await self.world.add_users(self.partner, [fields], code="OAUTH")
        return user

    async def change(self, **fields: Any) -> None:
        """Update the connection."""
        async with engine.sessions(self.world.database_url) as sessions, sessions.begin() as db:
            linked = await connections.by_code(db, self.partner.partner.id, "OAUTH")
            assert linked is not None
            await connections.update(db, self.world.vault, linked, fields)  # type: ignore[arg-type]


async def consented(
    world: World, oauth: OAuthServer, *, imap: tuple[str, int] = ("127.0.0.1", 1), app_only: bool = False
) -> Consented:
    """Create the partner and its connection, without users."""
    values: dict[str, Any] = {
        "oauth2_authorize_url": oauth.url("/authorize"),
        "oauth2_token_url": oauth.url("/token"),
        "oauth2_scope": "mail",
    }
    fields: Any = {"oauth2_client_id": "client", "oauth2_client_secret": SECRET}
    if app_only:
        values |= {"oauth2_grant_type": "client_credentials", "oauth2_scope": APP_SCOPE}
        del values["oauth2_authorize_url"]
    made = await world.partner(new_mail_webhook="https://app.example.com/")
    await world.provider(*imap, code="OAUTH", kind="OAUTH2", **values)
    await world.connection(made, code="OAUTH", **fields)
    return Consented(world, oauth, made, app_only)


@contextlib.asynccontextmanager
async def process(world: World, *, database_url: str | None = None) -> AsyncIterator[AccessTokens]:
    """The tokens of a process: with connections of its own to everything."""

    @contextlib.asynccontextmanager
    async def at_once(_url: str) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        yield

    async with (
        postgres.pool(database_url or world.database_url, size=4) as pool,
        guarded_client(Guard(world.settings.allowed_networks)) as http,
        AccessTokens(pool, world.vault, http, request_slot=at_once) as tokens,
    ):
        yield tokens
