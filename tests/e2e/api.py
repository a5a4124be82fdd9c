"""An API on a socket for end-to-end tests, with a partner that uses both providers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx

from superimap.domain.operators import OperatorRole
from tests.support.api import served, world
from tests.support.dashboard import with_token
from tests.support.leaks import watch

GMAIL = {"imap_provider_code": "GMAIL_OAUTH2", "oauth2_client_id": "i", "oauth2_client_secret": "s"}


class Running(NamedTuple):
    """The API's URL, a partner's key, and the token of an operator who may not delete."""

    url: str
    api_key: str
    token: str


@asynccontextmanager
async def running(database_url: str) -> AsyncIterator[Running]:
    """Run the API on this empty database, with connections to PLAIN and GMAIL_OAUTH2, and the user ADA."""
    async with world(database_url) as made, served(made.settings) as url:
        headers = {"x-api-key": made.acme}
        async with httpx.AsyncClient(base_url=f"{url}/api/v1", headers=headers) as client:
            for path, body in (
                ("/connections", {"imap_provider_code": "PLAIN"}),
                ("/connections", GMAIL),
                ("/connections/PLAIN/users", {"tag": "ADA", "email": "ada@example.com"}),
            ):
                assert (await client.post(path, json=body)).status_code == 201
        program = await with_token(made, OperatorRole.OPERATOR)
        yield Running(url, made.acme, program.headers["Authorization"].removeprefix("Bearer "))


async def run(*command: str, cwd: object = None, env: dict[str, str] | None = None) -> str:
    """Run a program to its end and return its output, which the assertion also shows after a failure."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=str(cwd) if cwd else None,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode(errors="replace")
    watch.search(output, command[0])
    assert process.returncode == 0, output
    return output
