"""Partners and users of a stress test: partners by the operator's queries, users by the API."""

from __future__ import annotations

import aiohttp
from redis.asyncio import Redis
from redis.exceptions import RedisError

from superimap.cli.running import explaining_database_errors
from superimap.core import crypto
from superimap.core import environment as variables
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.db import engine, postgres
from superimap.db.accounts import connections, partners, providers
from superimap.domain.providers import Tls
from superimap.launch.stress.mail_side import PASSWORD, user_name
from superimap.launch.stress.plan import PARTNER_COUNT, StressPlan
from superimap.launch.stress.processes import StressError, base_environment
from superimap.launch.stress.web_side import Application, ReceiverKeys

CODE = "STRESS"
REQUEST_SECONDS = 60.0


async def refuse_used_engines() -> None:
    """Raise StressError if DATABASE_URL or REDIS_URL name engines in use: nothing of theirs is changed before.

    The test fills them, and its processes would take the wake-ups of others.
    """
    spare = {
        "database_url": "postgresql://localhost/unused",
        "redis_url": "redis://localhost/0",
        "encryption_key": crypto.generate_key(),
    }
    own = {name: value for name, value in spare.items() if not variables.is_given(name)}
    settings = variables.load_settings(own)
    if "database_url" not in own:
        with explaining_database_errors(settings.database_url):
            await _refuse_used_database(settings.session_url)
    if "redis_url" not in own:
        await _refuse_used_queue(settings.redis_url)


async def _refuse_used_database(url: str) -> None:
    async with postgres.transaction(url) as db:
        has_schema = await db.fetchval("SELECT to_regclass('partners') IS NOT NULL")
        if has_schema and await db.fetchval("SELECT EXISTS (SELECT FROM partners)"):
            raise StressError(
                "The database of DATABASE_URL has partners; the stress test needs an empty one. Without "
                "DATABASE_URL it starts its own PostgreSQL."
            )


async def _refuse_used_queue(url: str) -> None:
    try:
        async with Redis.from_url(url) as redis:
            keys = await redis.dbsize()
    except RedisError as error:
        raise StressError(f"The server of REDIS_URL does not answer: {type(error).__name__}") from None
    if keys:
        raise StressError(
            "The database of REDIS_URL has keys; the stress test needs an empty one. Without "
            "REDIS_URL it starts its own Valkey."
        )


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the processes under test."""
    return base_environment() | {
        "ENVIRONMENT": "development",
        "DATABASE_URL": settings.database_url,
        "DATABASE_SESSION_URL": settings.database_session_url,
        "REDIS_URL": settings.redis_url,
        "ENCRYPTION_KEY": settings.encryption_key.get_secret_value(),
        "PORT": str(settings.port),
        "LOG_LEVEL": "warning",
    }


async def create(settings: Settings, plan: StressPlan, *, imap_port: int, web_port: int) -> Application:
    """Create the partners with their receivers, and the users by one request for each partner."""
    keys = await _create_partners(settings, imap_port, web_port)
    users_url = f"http://127.0.0.1:{settings.port}/api/v1/connections/{CODE}/users"
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
        for partner, own in keys.items():
            people = [_person(user) for user in range(partner, plan.users, PARTNER_COUNT)]
            if people:
                await _create_users(http, users_url, own.api_key, people)
    return Application(users_url, keys)


async def _create_partners(settings: Settings, imap_port: int, web_port: int) -> dict[int, ReceiverKeys]:
    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    keys = {}
    async with engine.sessions(settings.database_url, pool_size=1) as sessions, sessions.begin() as db:
        provider = await providers.create(
            db, code=CODE, title="Stress", imap_host="127.0.0.1", imap_port=imap_port, imap_tls=Tls.NONE
        )
        for partner in range(PARTNER_COUNT):
            receiver = f"http://127.0.0.1:{web_port}/{partner}"
            made = await partners.create(
                db,
                vault,
                name=f"stress{partner}",
                new_mail_webhook=f"{receiver}/new_mail",
                events_webhook=f"{receiver}/events",
            )
            await connections.create(db, vault, made.partner.id, provider, {})
            keys[partner] = ReceiverKeys(made.api_key, made.signing_secret)
    return keys


def _person(user: int) -> dict[str, str]:
    name = user_name(user)
    return {
        "tag": name,
        "email": f"{name}@localhost",
        "login_username": name,
        "login_password": PASSWORD,
    }


async def _create_users(
    http: aiohttp.ClientSession, url: str, api_key: str, people: list[dict[str, str]]
) -> None:
    body = {"users": people}
    async with http.post(f"{url}/batch", json=body, headers={"x-api-key": api_key}) as answer:
        if answer.status != 200:
            raise StressError(f"The API answered {answer.status} when users were created.")
        results = (await answer.json())["results"]
    failed = [each for each in results if each["outcome"] != "created"]
    if failed:
        raise StressError(f"{len(failed)} users were not created: {failed[0]['outcome']}.")
