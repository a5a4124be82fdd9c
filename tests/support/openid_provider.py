"""An OpenID provider that is not ours, as a process: oidc-provider with the configuration of tests/openid."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support import needs

FOLDER = Path(__file__).parents[1] / "openid"
PACKAGES = Path(sys.prefix).with_name(Path(sys.prefix).name + "-openid")
MAIL_SERVER = ("mail-server", "a secret of the mail server")


@dataclass(frozen=True, slots=True)
class OpenIdProvider:
    """A running provider."""

    issuer: str

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        return self.issuer + path

    def endpoints(self, **more: Any) -> dict[str, Any]:
        """Return the columns of `providers` that name its endpoints."""
        return {
            "oauth2_authorize_url": self.url("/auth"),
            "oauth2_token_url": self.url("/token"),
            "oauth2_revoke_url": self.url("/token/revocation"),
            "oauth2_userinfo_url": self.url("/me"),
            "oauth2_jwks_url": self.url("/jwks"),
            "oauth2_issuer": self.issuer,
            "oauth2_scope": "openid email mail offline_access",
            "oauth2_approval_prompt": "consent",
            **more,
        }

    async def sign_in_as(self, account: str) -> None:
        """Let this account sign in from now on, whoever is asked for."""
        async with httpx.AsyncClient() as http:
            (await http.post(self.url("/as"), params={"account": account})).raise_for_status()

    def introspect(self, token: str) -> dict[str, Any]:
        """Return what the provider says of a token (RFC 7662), as a mail server asks it."""
        answer = httpx.post(self.url("/token/introspection"), data={"token": token}, auth=MAIL_SERVER)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def seconds_left(self, token: str, account: str) -> float:
        """Return for how many seconds a token opens the mailboxes of this account."""
        found = self.introspect(token)
        is_valid = found["active"] and found.get("sub") == account and "mail" in found["scope"].split()
        return 3600.0 if is_valid else 0.0


@contextlib.asynccontextmanager
async def running_provider(
    folder: Path,
    *,
    clients: Sequence[dict[str, Any]],
    people: Sequence[str],
    organisation: Sequence[str] = (),
) -> AsyncIterator[OpenIdProvider]:
    """Run the provider with these clients; the first of `people` signs in until another is named."""
    node = shutil.which("node")
    if node is None or not (PACKAGES / "node_modules" / "oidc-provider").exists():
        needs(f"node, and the npm package oidc-provider in {PACKAGES}: python3 run.py test")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name, secret = MAIL_SERVER
    mail_server = {"client_id": name, "client_secret": secret, "redirect_uris": [], "response_types": []}
    mail_server |= {"grant_types": [], "token_endpoint_auth_method": "client_secret_basic"}
    values = {
        "port": port,
        "clients": [*clients, mail_server],
        "people": people,
        "organisation": organisation,
    }
    file = folder / "provider.json"
    file.write_text(json.dumps(values))
    process = await asyncio.create_subprocess_exec(
        node, FOLDER / "server.mjs", file, PACKAGES, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            while b"ready" not in (line := await process.stdout.readline()):
                assert line, "the provider has ended"
        yield OpenIdProvider(f"http://127.0.0.1:{port}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
