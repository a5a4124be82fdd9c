"""PostgreSQL, Valkey and the logs contain no credential, token, API key or mail unencrypted."""

import asyncio

import asyncpg
import pytest
from aiohttp import web
from redis.asyncio import Redis

from fixtures.world import World, eventually
from superimap.db import engine
from superimap.db.accounts import connections, partners, providers, users
from superimap.testing import ImapServer, WebhookSink
from tests.support.mails import mail
from tests.support.processes import environment, started

PASSWORD = 'planted-password-Zk3"q\\x'
WRONG_PASSWORD = "planted-wrong-password"
REFRESH_TOKEN = "planted-refresh-token-7Hs"
CLIENT_SECRET = "planted-client-secret-9Qd"
BODY = "planted-mail-body-Mv2"
SUBJECT = "planted-subject-Rt8"


async def plant(world: World, imap: ImapServer, sink: WebhookSink) -> partners.NewPartner:
    partner = await world.partner(new_mail_webhook=sink.url("/hook"))
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    imap.add_account("joe", PASSWORD)
    await world.user(partner, "joe", login="joe", password=PASSWORD)
    imap.add_account("jim", "another")
    await world.user(partner, "jim", login="jim", password=WRONG_PASSWORD)
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        provider = await providers.create(
            db,
            code="OAUTH",
            title="OAuth",
            kind="OAUTH2",
            imap_host=imap.host,
            imap_port=imap.port,
            imap_tls="none",
            oauth2_authorize_url="https://id.example.com/authorize",
            oauth2_token_url=sink.url("/token"),
            oauth2_scope="mail",
        )
        linked = await connections.create(
            db,
            world.vault,
            partner.partner.id,
            provider,
            {"oauth2_client_id": "client", "oauth2_client_secret": CLIENT_SECRET},
        )
        await users.create(
            db,
            world.vault,
            linked,
            {"tag": "ann", "email": "ann@example.com", "oauth2_refresh_token": REFRESH_TOKEN},
        )
    return partner


async def everything_in_postgres(url: str) -> bytes:
    """Return every value of every row of every table: text as UTF-8, bytes as they are."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        dump = bytearray()
        for (table,) in tables:
            for row in await connection.fetch(f'SELECT * FROM "{table}"'):
                for value in row.values():
                    dump += (value if isinstance(value, bytes) else str(value).encode()) + b"\n"
        return bytes(dump)
    finally:
        await connection.close()


async def everything_in_valkey(url: str) -> bytes:
    async with Redis.from_url(url) as redis:
        keys = [key async for key in redis.scan_iter()]
        return b"\n".join([*keys, *[bytes(await redis.dump(key) or b"") for key in keys]])


async def test_planted_secrets_are_in_no_dump_and_no_log(world: World, imap, sink):
    partner = await plant(world, imap, sink)
    # Deliveries stay pending, and the response is an error page that repeats the request.
    sink.on("/hook", lambda got: web.Response(status=500, body=got.body[:1000]))
    env = environment(world)
    async with started("idler", env=env) as idler, started("dispatcher", env=env) as dispatcher:
        await imap.wait_for(lambda: any(session.idling for session in imap.sessions), 30)
        imap.deliver("joe", mail(1, body=BODY.encode()).replace(b"Mail 1", SUBJECT.encode()))
        await sink.wait_for(lambda got: any(each.path == "/hook" for each in got), timeout=20)
        await sink.wait_for(lambda got: any(each.path == "/token" for each in got), timeout=20)
        await eventually(
            lambda: world.value("SELECT count(*) = 1 FROM users WHERE status = 'authentication_failed'")
        )
        await eventually(lambda: world.value("SELECT attempts > 0 AND state = 'pending' FROM deliveries"))
        idler.kill()  # its doorbells stay in Valkey
        dispatcher.kill()
        dump = await everything_in_postgres(world.database_url) + await everything_in_valkey(world.redis_url)
        logs = (idler.output + dispatcher.output).encode()

    api_key, secret = partner.api_key, partner.signing_secret.removeprefix("whsec_")
    for planted in (PASSWORD, WRONG_PASSWORD, REFRESH_TOKEN, CLIENT_SECRET, BODY, SUBJECT, api_key, secret):
        assert planted.encode() not in dump, f"{planted} is stored unencrypted"
        assert planted.encode() not in logs, f"{planted} is logged"
    assert b"joe" in dump, "the dump contains the user, so it is complete"
    received = next(each for each in sink.received if each.path == "/hook")
    assert BODY in received.json["rfc822"]


async def test_a_process_with_another_key_refuses_to_start(world: World, imap, sink):
    await plant(world, imap, sink)
    async with started("idler", env=environment(world)) as first:
        await first.says("took shards")
    other = World(world.database_url, world.redis_url)
    for command in ("idler", "dispatcher", "api"):
        async with started(command, env=environment(other, PORT="0")) as process:
            assert await process.ended(within=20) == 1
            assert "ENCRYPTION_KEY" in process.output
            assert "Traceback" not in process.output
            assert len(process.output.strip().splitlines()) <= 2


@pytest.mark.slow
async def test_keys_rotate_while_everything_runs(world: World, imap, sink):
    await plant(world, imap, sink)
    old = world.encryption_key
    async with started("idler", env=environment(world)), started("dispatcher", env=environment(world)):
        await imap.wait_for(lambda: any(session.idling for session in imap.sessions), 30)
    world.encryption_key = f"{World('', '').encryption_key},{old}"
    env = environment(world)
    async with started("idler", env=env), started("dispatcher", env=env):
        await imap.wait_for(lambda: any(session.idling for session in imap.sessions), 30)
        for number in range(20):
            imap.deliver("joe", mail(number))
            await asyncio.sleep(0)
        async with started("rotate-keys", env=env) as rotating:
            assert await rotating.ended() == 0, rotating.output
        imap.deliver("joe", mail("after"))
        await sink.wait_for(
            lambda got: len({e.json["sha1"] for e in got if e.path == "/hook"}) == 21, timeout=30
        )
    world.encryption_key = world.encryption_key.partition(",")[0]
    env = environment(world)
    async with started("idler", env=env), started("dispatcher", env=env):
        await imap.wait_for(lambda: any(session.idling for session in imap.sessions), 30)
        imap.deliver("joe", mail("with the new key alone"))
        await sink.wait_for(
            lambda got: len({e.json["sha1"] for e in got if e.path == "/hook"}) == 22, timeout=30
        )
