"""Database roles: each process may do what its statements need, and no more."""

from __future__ import annotations

import asyncio
from enum import StrEnum

import asyncpg
import pytest

from fixtures import privileges as derived
from fixtures.engines import as_role, database, execute
from superimap.db import migrate, privileges
from superimap.db.privileges import Role, RolesNotCreated, apply_privileges

# Statements that a stolen login must not be able to run, by the role of the login.
FORBIDDEN = {
    Role.IDLER: [
        "SELECT secret FROM api_keys",
        "SELECT digest FROM api_keys",
        "SELECT secret FROM signing_secrets",
        "SELECT content FROM deliveries",
        "SELECT body FROM attempts",
        "SELECT name FROM partners",
        "UPDATE endpoints SET url = 'https://example.com/'",
        "UPDATE users SET imap_host = 'example.com'",
        "UPDATE users SET login_password = NULL",
        "UPDATE providers SET imap_host = 'example.com'",
        "UPDATE connections SET oauth2_client_id = ''",
        "DELETE FROM users",
        "DELETE FROM messages",
        "DELETE FROM user_events",
        "UPDATE vault_canaries SET word = ''",
        "DELETE FROM vault_canaries",
        "SELECT has_login_password(1)",
        "INSERT INTO shard_user_sums (shard, wanted, digest) VALUES (1, 1, 1)",
        "CREATE TEMP TABLE t (id bigint);"
        " CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION count_user()",
    ],
    Role.DISPATCHER: [
        "SELECT login_password FROM users",
        "SELECT oauth2_refresh_token FROM users",
        "SELECT oauth2_access_token FROM users",
        "SELECT * FROM users",
        "SELECT oauth2_client_secret FROM connections",
        "SELECT digest FROM api_keys",
        "UPDATE endpoints SET url = 'https://example.com/'",
        "UPDATE users SET imap_host = 'example.com'",
        "INSERT INTO signing_secrets (partner_id, secret) VALUES (1, '')",
        "UPDATE shards SET epoch = 0",
        "DELETE FROM users",
        "DELETE FROM vault_canaries",
        "SELECT has_login_password(1)",
    ],
    Role.API: [
        "SELECT login_password FROM users",
        "SELECT oauth2_access_token FROM users",
        "SELECT * FROM users",
        "UPDATE providers SET imap_host = 'example.com'",
        "INSERT INTO providers (code) VALUES ('X')",
        "DELETE FROM partners",
        "UPDATE partners SET name = 'x'",
        "UPDATE shards SET epoch = 0",
        "UPDATE idlers SET capacity = 0",
        "INSERT INTO messages (uid) VALUES (1)",
        "DELETE FROM messages",
        "DELETE FROM attempts",
        "DELETE FROM deliveries",
        "UPDATE deliveries SET content = ''",
        "SELECT token_digest FROM tracers",
        "UPDATE mailboxes SET last_uid = 0",
        "UPDATE vault_canaries SET word = ''",
        "UPDATE endpoints SET url = 'https://example.com/'",
        "INSERT INTO endpoints (partner_id, kind) VALUES (1, 'new_mail')",
        "UPDATE connections SET provider_id = 1",
        "UPDATE users SET connection_id = 1",
        "UPDATE users SET partner_id = 1",
        "INSERT INTO audit_log (at, actor_kind, actor, action) VALUES ('2020-01-01', 'system', 'x', 'x')",
        "INSERT INTO audit_log (id, actor_kind, actor, action) VALUES (1, 'system', 'x', 'x')",
    ],
    Role.OPERATOR: [
        "UPDATE shards SET epoch = 0",
        "DELETE FROM idlers",
        "UPDATE alembic_version SET version_num = '0001'",
        "ALTER TABLE users ADD COLUMN x int",
        "TRUNCATE users",
        "INSERT INTO audit_log (at, actor_kind, actor, action) VALUES ('2020-01-01', 'system', 'x', 'x')",
        "CREATE TABLE x (y int)",
        "CREATE ROLE x",
    ],
}  # fmt: skip


# No process changes the schema, and no role becomes another one.
FORBIDDEN_TO_ALL = [
    "CREATE TABLE x (y int)",
    "CREATE FUNCTION lower(bytea) RETURNS text LANGUAGE sql AS ''",
    "ALTER TABLE users DISABLE TRIGGER guard_password",
    "DROP TRIGGER guard_rows ON audit_log",
    "ALTER FUNCTION has_login_password(bigint) RESET search_path",
    "GRANT superimap_idler TO superimap_dispatcher",
    "UPDATE audit_log SET actor = ''",
    "DELETE FROM audit_log",
]


@pytest.mark.parametrize("role", Role)
async def test_a_role_may_not_do_what_its_process_never_does(database_url, role):
    db = await asyncpg.connect(as_role(database_url, role))
    try:
        allowed = []
        for statement in (*FORBIDDEN[role], *FORBIDDEN_TO_ALL):
            transaction = db.transaction()
            await transaction.start()
            try:
                await db.execute(statement)
                allowed.append(statement)
            except asyncpg.InsufficientPrivilegeError:
                pass
            await transaction.rollback()
    finally:
        await db.close()

    assert not allowed


TRAP = """
    CREATE FUNCTION pg_temp.trap() RETURNS bytea LANGUAGE plpgsql AS $$
    BEGIN
        GRANT superimap_idler TO superimap_api;
        RETURN 'trapped';
    END $$;
    CREATE TEMP VIEW users AS SELECT 1::bigint AS id, pg_temp.trap() AS login_password;
"""


async def test_the_function_that_runs_as_the_owner_reads_no_table_of_its_caller(database_url):
    """Temporary objects come first in a search path that does not name them."""
    db = await asyncpg.connect(as_role(database_url, Role.API))
    try:
        async with asyncio.timeout(5), db.transaction():
            await db.execute(TRAP)

            assert await db.fetchval("SELECT has_login_password(1)") is None
    finally:
        await db.close()


@pytest.mark.parametrize("worker", derived.WORKERS)
async def test_every_statement_of_a_worker_is_within_its_privileges(database_url, worker):
    db = await asyncpg.connect(as_role(database_url, Role[worker.upper()]))
    try:
        for sql in derived.statements_of(worker):
            await db.execute(f"EXPLAIN (GENERIC_PLAN) {sql.rstrip().rstrip(';')}")
    finally:
        await db.close()


async def test_privileges_of_workers_are_exactly_those_of_their_statements(database_url):
    committed = derived.TARGET.read_text()

    assert await derived.derive(database_url) == committed, "run `make privileges`, and read what changes"


async def test_the_roles_are_groups_without_any_attribute(database_url):
    db = await asyncpg.connect(database_url)
    try:
        rows = await db.fetch("SELECT * FROM pg_roles WHERE rolname = ANY($1)", list(Role))
    finally:
        await db.close()

    assert len(rows) == len(Role)
    for row in rows:
        powers = ("rolcanlogin", "rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls")
        assert not any(row[power] for power in powers)


async def test_privileges_given_by_hand_are_taken_back_at_the_next_migration(database_url):
    await execute(database_url, "GRANT SELECT ON users TO superimap_dispatcher")
    await execute(database_url, "GRANT SELECT (login_password) ON users TO superimap_api")

    granted = await apply_privileges(database_url, create=False)

    assert granted == list(Role)
    for role in (Role.API, Role.DISPATCHER):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await execute(as_role(database_url, role), "SELECT login_password FROM users")


async def test_a_table_that_lost_its_privileges_gets_them_at_the_next_migration(database_url):
    await execute(database_url, "REVOKE ALL ON user_events, messages FROM superimap_idler")

    await apply_privileges(database_url, create=False)

    await execute(
        as_role(database_url, Role.IDLER), "SELECT id FROM user_events UNION SELECT id FROM messages"
    )


async def test_a_hosted_database_without_superuser_gets_roles_and_logins(postgres_url, database_url):
    """As hosting providers offer it: the owner of the database may create roles, and is no superuser."""
    await execute(postgres_url, "CREATE ROLE hosted LOGIN CREATEROLE")
    await execute(postgres_url, "CREATE DATABASE hosted OWNER hosted")
    for role in Role:  # here they exist already; PostgreSQL 16 gives their creator this option
        await execute(postgres_url, f"GRANT {role} TO hosted WITH ADMIN OPTION")
    owner = database(postgres_url, "hosted").replace("superimap@", "hosted@")
    try:
        await asyncio.to_thread(migrate.upgrade, owner)
        granted = await apply_privileges(owner, create=True)
        await execute(owner, "CREATE ROLE hosted_idler LOGIN")
        await execute(owner, "GRANT superimap_idler TO hosted_idler")
        login = owner.replace("hosted@", "hosted_idler@")

        await execute(login, "SELECT login_password FROM users")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await execute(login, "SELECT secret FROM api_keys")
    finally:
        await execute(postgres_url, "DROP DATABASE hosted WITH (FORCE)")
        await execute(postgres_url, "DROP ROLE IF EXISTS hosted_idler")
        await execute(postgres_url, f"REVOKE {', '.join(Role)} FROM hosted")
        await execute(postgres_url, "DROP ROLE hosted")

    assert granted == list(Role)


class Absent(StrEnum):
    """Names of roles that do not exist on the server of the tests."""

    API = "absent_api"
    IDLER = "absent_idler"
    DISPATCHER = "absent_dispatcher"
    OPERATOR = "absent_operator"


async def test_without_roles_a_migration_changes_no_privilege(database_url, monkeypatch):
    monkeypatch.setattr(privileges, "Role", Absent)

    assert await apply_privileges(database_url, create=False) == []


async def test_who_may_not_create_roles_is_told_the_statements_for_an_administrator(
    postgres_url, database_url, monkeypatch
):
    monkeypatch.setattr(privileges, "Role", Absent)
    await execute(postgres_url, "CREATE ROLE weak LOGIN")
    try:
        with pytest.raises(RolesNotCreated) as refused:
            await apply_privileges(database_url.replace("superimap@", "weak@"), create=True)
    finally:
        await execute(postgres_url, "DROP ROLE weak")

    for role in Absent:
        assert f"CREATE ROLE {role} NOLOGIN;" in str(refused.value)
