"""Database roles of the processes, and the privileges that each has.

The roles are groups that cannot log in. An operator grants each to the login role of one process. Privileges of
idlers and dispatchers are derived from their statements (`worker_privileges.sql`); those of the API and of
operators are in TABLES, which names every table.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import asyncpg

from superimap.core.errors import SuperImapError
from superimap.db import postgres
from superimap.db.migrate import LOCK_KEY, LOCK_RETRY_SECONDS
from superimap.db.models import Base


class Role(StrEnum):
    """Group role of a kind of process; `OPERATOR` is for the command line, except `migrate`."""

    API = "superimap_api"
    IDLER = "superimap_idler"
    DISPATCHER = "superimap_dispatcher"
    OPERATOR = "superimap_operator"


_TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
_ALL = "SELECT, INSERT, UPDATE, DELETE"
# An entry that named its own time could be one that may be deleted.
_RECORD = "SELECT, INSERT (actor_kind, actor, partner_id, action, object_id, fields, details)"

# Privileges of the API and of operators; empty for none. A row lock needs UPDATE of at least one column.
TABLES: dict[str, tuple[str, str]] = {
    "activity": ("", "SELECT"),
    "activity_marks": ("", "SELECT"),
    "alembic_version": ("SELECT", "SELECT"),
    "allowances": ("SELECT, INSERT, UPDATE", _ALL),
    "api_keys": (_ALL, _ALL),
    "attempts": ("SELECT", _ALL),
    "audit_log": (_RECORD, _RECORD),
    "connections": (_ALL, _ALL),
    "dashboard_links": ("SELECT, INSERT, DELETE", _ALL),
    "dashboard_sessions": ("", _ALL),
    "deferred_mails": ("SELECT, INSERT, DELETE", _ALL),
    "deliveries": ("SELECT, INSERT, UPDATE (state, due_at, settled_at, attempts_before)", _ALL),
    "delivery_leases": ("SELECT", "SELECT"),
    "endpoints": ("SELECT, UPDATE", _ALL),
    "idler_activity": ("", "SELECT"),
    "idlers": ("SELECT", "SELECT"),
    "jobs": ("SELECT", _ALL),
    "login_tries": (_ALL, _ALL),
    "mail_flags": ("", _ALL),
    "mailboxes": ("SELECT", _ALL),
    "messages": ("SELECT, UPDATE (outcome, detail)", _ALL),
    "oauth_states": ("SELECT, INSERT, UPDATE (expires_at), DELETE", _ALL),
    "operator_tokens": ("", _ALL),
    "operators": ("", _ALL),
    "partner_quotas": ("SELECT", _ALL),
    "partner_usage": ("SELECT, INSERT, UPDATE", _ALL),
    "partners": ("SELECT, UPDATE (created_at)", _ALL),
    "passkeys": ("", _ALL),
    "provider_activity": ("", "SELECT"),
    "protocol_log_lines": ("", "SELECT, DELETE"),
    "protocol_logs": ("", _ALL),
    "providers": ("SELECT", _ALL),
    "recovery_codes": ("", _ALL),
    "shard_user_sums": ("SELECT", "SELECT"),
    "shards": ("SELECT", "SELECT"),
    "signing_secrets": ("SELECT, INSERT, UPDATE (expires_at)", _ALL),
    "sweep_mails": ("SELECT, UPDATE (next_attempt_at)", _ALL),
    "sweeps": (
        "SELECT, INSERT, DELETE, UPDATE "
        "(state, reason, due_at, failures, failing_since, failed_at, failing_seconds, finished_at)",
        _ALL,
    ),
    "tracer_days": ("", "SELECT"),
    "tracers": ("", "SELECT"),
    "troubled_users": ("", "SELECT"),
    "used_forms": ("", _ALL),
    "used_links": ("SELECT, INSERT, UPDATE (used_at), DELETE", _ALL),
    "user_events": ("SELECT, INSERT", _ALL),
    "users": ("SELECT, INSERT, UPDATE", _ALL),
    "vouches": ("", ""),
    "vault_canaries": ("SELECT, INSERT, UPDATE (seals)", _ALL),
}

# Columns that the API writes and never reads. It reads refresh tokens, to revoke them at the provider.
HIDDEN_FROM_API = {"users": frozenset({"login_password", "oauth2_access_token"})}

# Columns that the API never changes: they decide where secrets and webhooks are sent.
FIXED_FOR_API = {
    "connections": frozenset({"id", "partner_id", "provider_id"}),
    "endpoints": frozenset({"id", "partner_id", "kind", "url"}),
    "users": frozenset({"id", "partner_id", "connection_id"}),
}


class RolesNotCreated(SuperImapError):
    """The user of DATABASE_URL may not create roles. The text has the statements for an administrator."""


async def apply_privileges(url: str, *, create: bool) -> list[Role]:
    """Give each role that exists exactly its privileges on our tables; return these roles.

    `create` creates missing roles first. The user of the URL owns the tables, and needs CREATEROLE to create
    roles; a superuser is not needed. All privileges change in one transaction, so that a running process never
    lacks one.
    Raises RolesNotCreated.
    """
    db = await postgres.connect(url)
    try:
        if create:
            await _create_roles(db)
        async with db.transaction():
            # Without a snapshot that lasts: a migration that builds an index would wait for it.
            while not await db.fetchval(_TRY_LOCK, LOCK_KEY):  # noqa: ASYNC110 - another process holds it
                await asyncio.sleep(LOCK_RETRY_SECONDS)
            roles = await _existing(db)
            for statement in statements(roles):
                await db.execute(statement)
    finally:
        await db.close(timeout=postgres.CONNECT_TIMEOUT_SECONDS)
    return roles


async def _existing(db: asyncpg.Connection) -> list[Role]:
    rows = await db.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY($1)", list(Role))
    found = {row[0] for row in rows}
    return [role for role in Role if role in found]


async def _create_roles(db: asyncpg.Connection) -> None:
    existing = await _existing(db)
    missing = [f"CREATE ROLE {role} NOLOGIN;" for role in Role if role not in existing]
    for statement in missing:
        try:
            # Roles belong to all databases of the server: another database may create one at the same moment.
            with suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                await db.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            raise RolesNotCreated(
                "The user of DATABASE_URL may not create roles. Let an administrator run these statements, "
                "then run `superimap migrate --roles` again:\n" + "\n".join(missing)
            ) from None


def statements(roles: Sequence[Role]) -> Iterator[str]:
    """Yield the statements that replace the privileges of these roles by the right ones."""
    if not roles:
        return
    everyone = ", ".join(roles)
    yield f"REVOKE ALL ON {', '.join(TABLES)} FROM {everyone}"
    yield f"REVOKE ALL ON SEQUENCE {', '.join(map(_sequence, _numbered()))} FROM {everyone}"
    for line in Path(__file__).with_name("worker_privileges.sql").read_text().splitlines():
        if line.startswith("GRANT") and line.rpartition(" TO ")[2].rstrip(";") in roles:
            yield line
    for table, granted in TABLES.items():
        for role, privileges in zip((Role.API, Role.OPERATOR), granted, strict=True):
            if privileges and role in roles:
                yield f"GRANT {_by_column(table, privileges, role)} ON {table} TO {role}"
                if "INSERT" in privileges and table in _numbered():
                    yield f"GRANT USAGE ON SEQUENCE {_sequence(table)} TO {role}"
    if callers := [role for role in (Role.API, Role.OPERATOR) if role in roles]:
        yield f"GRANT EXECUTE ON FUNCTION has_login_password(bigint) TO {', '.join(callers)}"


def _by_column(table: str, privileges: str, role: Role) -> str:
    """Replace SELECT and UPDATE of a whole table by those of its columns, if some are denied to the API."""
    if role is not Role.API:
        return privileges
    for privilege, excluded in (("SELECT", HIDDEN_FROM_API), ("UPDATE", FIXED_FOR_API)):
        if table in excluded:
            columns = [each.name for each in Base.metadata.tables[table].columns]
            allowed = ", ".join(name for name in columns if name not in excluded[table])
            privileges = privileges.replace(privilege, f"{privilege} ({allowed})", 1)
    return privileges


def _numbered() -> list[str]:
    """Return the tables whose ids come from a sequence."""
    tables = Base.metadata.sorted_tables
    return sorted(table.name for table in tables if "id" in table.c and table.c.id.identity is not None)


def _sequence(table: str) -> str:
    return f"{table}_id_seq"
