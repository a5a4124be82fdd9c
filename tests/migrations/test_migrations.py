"""Migrations: the schema matches the models, and refuses rows that join two partners."""

from __future__ import annotations

import asyncio
import sys

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from superimap.db import migrate
from superimap.db.revisions import known_revisions

PARTNERS = """
INSERT INTO partners (id, name) VALUES (1, 'one'), (2, 'two');
INSERT INTO providers (id, code, title, kind, imap_host, imap_port) VALUES (1, 'X', 'X', 'PLAIN', 'x', 993);
INSERT INTO connections (id, partner_id, provider_id) VALUES (1, 1, 1), (2, 2, 1);
INSERT INTO users (id, partner_id, connection_id, tag) VALUES (1, 1, 1, 'ann'), (2, 2, 2, 'bob');
INSERT INTO mailboxes (id, partner_id, user_id, account, name)
    VALUES (1, 1, 1, 'a', 'INBOX'), (2, 2, 2, 'b', 'INBOX');
INSERT INTO messages (id, partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome)
  VALUES (1, 1, 1, 1, 1, 1, 1, 'delivered'), (2, 2, 2, 2, 1, 1, 1, 'delivered');
INSERT INTO endpoints (id, partner_id, kind) VALUES (1, 1, 'new_mail'), (2, 2, 'new_mail');
INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, message_id, kind)
  VALUES ('00000000-0000-0000-0000-000000000001', 1, 1, 1, 1, 'new_mail'),
         ('00000000-0000-0000-0000-000000000002', 2, 2, 2, 2, 'new_mail');
INSERT INTO user_events (id, partner_id, user_id, kind) OVERRIDING SYSTEM VALUE
  VALUES (1, 1, 1, 'stalled'), (2, 2, 2, 'stalled');
SELECT setval(pg_get_serial_sequence(name, 'id'), 100)
  FROM unnest('{users,mailboxes,messages,user_events}'::text[]) AS name;
"""


@pytest.fixture
async def db(database_url):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def two_partners(db):
    """A connection to a database with two partners, ids 1 and 2, each with one row in every table."""
    await db.execute(PARTNERS)
    return db


async def test_models_and_migrations_agree(database_url):
    await asyncio.to_thread(command.check, migrate.configuration(database_url))


def test_revisions_read_from_file_names_are_in_the_order_of_alembic():
    script = ScriptDirectory.from_config(migrate.configuration(""))

    assert known_revisions() == [each.revision for each in script.walk_revisions()][::-1]
    assert known_revisions()[-1] == script.get_current_head()


async def test_every_index_of_an_interrupted_migration_is_built_again(database_url, db):
    listed = (
        "SELECT indexrelid::regclass::text, indisvalid, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indexrelid::regclass::text NOT LIKE 'pg_toast%' ORDER BY 1"
    )
    before = await db.fetch(listed)
    await asyncio.to_thread(command.downgrade, migrate.configuration(database_url), "0032")
    await db.execute("CREATE INDEX ix_users_tag ON users (tag)")
    await db.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_users_tag'::regclass")

    await asyncio.to_thread(migrate.upgrade, database_url)

    assert await db.fetch(listed) == before


async def test_tables_of_mails_are_vacuumed_long_before_a_fifth_of_their_rows_is_dead(db):
    rows = await db.fetch("SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL")

    shares = {"autovacuum_vacuum_scale_factor=0.01", "autovacuum_analyze_scale_factor=0.02"}
    assert {row[0]: set(row[1]) for row in rows if row[0] in ("messages", "deliveries", "attempts")} == {
        "messages": shares,
        "deliveries": shares,
        "attempts": shares,
    }


async def test_migrating_again_changes_nothing(database_url, db):
    await asyncio.to_thread(migrate.upgrade, database_url)

    assert await db.fetchval("SELECT count(*) FROM alembic_version") == 1


async def migrating_process(database_url: str) -> asyncio.subprocess.Process:
    program = f"from superimap.db.migrate import upgrade; upgrade({database_url!r})"
    return await asyncio.create_subprocess_exec(sys.executable, "-c", program)


async def test_two_processes_never_migrate_at_the_same_time(database_url, db):
    await db.execute("SELECT pg_advisory_lock($1)", migrate.LOCK_KEY)
    process = await migrating_process(database_url)
    # Its first transaction tries the lock.
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COMMIT%'"
    )
    while not await db.fetchval(waiting):
        assert process.returncode is None, "the process did not wait for the lock"
        await asyncio.sleep(0.01)

    await db.execute("SELECT pg_advisory_unlock($1)", migrate.LOCK_KEY)

    assert await process.wait() == 0


async def test_two_processes_that_migrate_at_once_do_not_deadlock(database_url, db):
    """An index that is built concurrently waits for all older snapshots, also for those of processes that wait."""
    await asyncio.to_thread(command.downgrade, migrate.configuration(database_url), "0032")

    processes = [await migrating_process(database_url) for _ in range(2)]

    assert [await process.wait() for process in processes] == [0, 0]
    assert await db.fetchval("SELECT version_num FROM alembic_version") == known_revisions()[-1]


async def test_every_shard_exists_and_has_no_owner(db):
    row = await db.fetchrow("SELECT count(*), min(shard), max(shard), count(owner) FROM shards")

    assert tuple(row) == (4096, 0, 4095, 0)


ID = "gen_random_uuid()"
CROSS_REFERENCES = {
    "a user of another's connection":
        "INSERT INTO users (partner_id, connection_id, tag) VALUES ($1, $2, 'eve')",
    "a mailbox of another's user":
        "INSERT INTO mailboxes (partner_id, user_id, account, name) VALUES ($1, $2, 'a', 'Sent')",
    "a message of another's mailbox":
        "INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome)"
        " VALUES ($1, $1, $2, 9, 9, 1, 'delivered')",
    "a message of another's user":
        "INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome)"
        " VALUES ($1, $2, $1, 9, 9, 1, 'delivered')",
    "a message that is another's":
        "INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome)"
        " VALUES ($1, $2, $2, 9, 9, 1, 'delivered')",
    "a sweep of another's user":
        "INSERT INTO sweeps (partner_id, user_id, shard, direction, actor_kind, made_by)"
        " VALUES ($1, $2, 1, 'newest', 'system', 'test')",
    "a delivery to another's endpoint":
        "INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, message_id, kind)"
        f" VALUES ({ID}, $1, $2, $1, $1, 'new_mail')",
    "a delivery about another's user":
        "INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, message_id, kind)"
        f" VALUES ({ID}, $1, $1, $2, $1, 'new_mail')",
    "a delivery of another's message":
        "INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, message_id, kind)"
        f" VALUES ({ID}, $1, $1, $1, $2, 'new_mail')",
    "a delivery of another's event":
        "INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, event_id, kind)"
        f" VALUES ({ID}, $1, $1, $1, $2, 'events')",
    "an attempt at another's delivery":
        "INSERT INTO attempts (id, partner_id, delivery_id, number, milliseconds)"
        " VALUES (gen_random_uuid(), $1, ('00000000-0000-0000-0000-00000000000' || $2::int)::uuid, 1, 1)",
    "a consent for another's user":
        "INSERT INTO oauth_states (partner_id, user_id, state_digest, browser_digest, link_digest, verifier,"
        " expires_at) VALUES ($1, $2, 'a', 'b', 'c', 'd', now())",
    "an event of another's user":
        "INSERT INTO user_events (partner_id, user_id, kind) VALUES ($1, $2, 'stalled')",
    "a used link of another's user":
        "INSERT INTO used_links (partner_id, user_id, link_digest) VALUES ($1, $2, 'a')",
    "a deferral of another's message":
        "INSERT INTO deferred_mails (message_id, partner_id, user_id, mailbox_id, uid_validity, uid,"
        " found_by_date, next_attempt_at) VALUES ($2, $1, 1, 1, 1, 1, false, now())",
    "known flags of another's message":
        "INSERT INTO mail_flags (message_id, partner_id, mailbox_id, uid_validity, uid, flags)"
        " VALUES ($2, $1, 1, 1, 1, '')",
    "a tracer to another's user":
        "INSERT INTO tracers (partner_id, user_id, token_digest) VALUES ($1, $2, 'x')",
}  # fmt: skip


@pytest.mark.parametrize("statement", CROSS_REFERENCES.values(), ids=CROSS_REFERENCES.keys())
async def test_no_row_refers_to_a_row_of_another_partner(two_partners, statement):
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await two_partners.execute(statement, 1, 2)

    await two_partners.execute(statement, 1, 1)


@pytest.mark.parametrize(
    "table", ["users", "mailboxes", "messages", "deliveries", "endpoints", "connections"]
)
async def test_no_row_moves_to_another_partner(two_partners, table):
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await two_partners.execute(f"UPDATE {table} SET partner_id = 2 WHERE partner_id = 1")


async def test_every_table_with_a_partner_id_is_covered_by_the_references_above(db):
    rows = await db.fetch(
        "SELECT table_name FROM information_schema.columns WHERE column_name = 'partner_id'"
    )
    without_references = {
        "activity",
        "allowances",
        "api_keys",
        "signing_secrets",
        "endpoints",
        "connections",
        "audit_log",
        "partner_quotas",
        "partner_usage",
        "dashboard_links",
        "dashboard_sessions",
        "jobs",
        "troubled_users",
    }  # refer to their partner only

    covered = {statement.split()[2] for statement in CROSS_REFERENCES.values()}

    assert {row["table_name"] for row in rows} - without_references == covered


@pytest.mark.parametrize("column", ["uid_validity", "last_uid"])
async def test_uids_of_63_bits_fit_and_negative_ones_are_refused(two_partners, column):
    statement = f"UPDATE mailboxes SET {column} = $1 WHERE id = 1"
    await two_partners.execute(statement, 2**63 - 1)
    await two_partners.execute(
        "INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome)"
        f" VALUES (1, 1, 1, {2**63 - 1}, {2**63 - 1}, 1, 'delivered')"
    )

    with pytest.raises(asyncpg.CheckViolationError):
        await two_partners.execute(statement, -1)


async def test_a_tag_is_unique_among_live_users_regardless_of_letter_case(two_partners):
    insert = "INSERT INTO users (partner_id, connection_id, tag, archived) VALUES (1, 1, $1, $2)"
    await two_partners.execute(insert, "ANN", True)
    await two_partners.execute(insert, "Ann", True)

    with pytest.raises(asyncpg.UniqueViolationError):
        await two_partners.execute(insert, "ANN", False)


async def test_deleting_a_partner_deletes_all_its_rows_and_none_of_another(two_partners):
    await two_partners.execute("DELETE FROM partners WHERE id = 1")

    for table in ("users", "mailboxes", "messages", "deliveries", "endpoints", "connections"):
        assert [row["partner_id"] for row in await two_partners.fetch(f"SELECT partner_id FROM {table}")] == [
            2
        ]
