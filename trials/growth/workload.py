"""Arguments and page budgets of all statements in `.sql` files, for a database that `fill` has filled."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

import superimap.db
from superimap.db import statements
from superimap.db.statements import Statement
from superimap.domain.activity import (
    DAY_SECONDS,
    HOUR_SECONDS,
    LATENCY_BOUNDS_SECONDS,
    PARTNER_GRAIN_SECONDS,
    PROVIDER_GRAIN_SECONDS,
)

FOLDER = Path(superimap.db.__file__).parent
BUDGET_PAGES = 300
"""Pages that a statement may read, if BUDGETS has no other number."""

# Statements that change or read many rows at once, by design: some pages for each of a bounded number of rows.
BUDGETS = {
    "accounts/room:count_live_users": 20_000,  # users of a partner, when its quota seems to be used up
    "delivery/activity:add_attempts": 60_000,  # 5,000 rows
    "delivery/activity:add_deliveries": 80_000,  # 5,000 rows
    "delivery/activity:add_messages": 80_000,  # 5,000 rows
    "delivery/activity:find_last_message": 1_000,  # 5,000 rows
    "delivery/activity:coarsen_partners": 120_000,  # 5,000 rows
    "delivery/activity:coarsen_providers": 120_000,  # 5,000 rows
    "delivery/activity:delete_old_idlers": 20_000,  # 5,000 rows
    "delivery/activity:delete_old_partners": 20_000,  # 5,000 rows
    "delivery/activity:delete_old_providers": 20_000,  # 5,000 rows
    "delivery/backlogs:count_dead_letters": 20_000,  # 10,000 rows of each partner
    "delivery/backlogs:measure": 20_000,  # up to the quota of a partner; at most a twentieth of the time
    "delivery/liveness:delete_old_events": 40_000,  # 5,000 rows
    "delivery/liveness:find_ended_vouchers": 1_000,  # a page for each interval of an idler
    "delivery/liveness:keep_vouched": 2_000,  # 10,000 users
    "delivery/liveness:mark_stalled": 2_000,  # 10,000 users
    "delivery/shard_survey:survey_shards": 2_000,  # 10,000 users
    "delivery/sweeping:delete_old_deliveries": 60_000,  # 5,000 rows
    "delivery/sweeping:delete_old_messages": 100_000,  # 5,000 rows
    "delivery/sweeping:erase_old_content": 200_000,  # 5,000 rows
    "delivery/sweeping:fail_disabled": 200_000,  # 5,000 rows
    "delivery/sweeping:list_overdue": 4_000,  # 500 POSTs in flight, in front of what is overdue
    "delivery/sweeping:release_expired": 50_000,  # 500 rows
    "delivery/sweeping:release_held": 50_000,  # 500 rows
    "monitoring/problems:late_endpoints": 20_000,  # 100 endpoints, and 1,000 deliveries of each
    "monitoring/problems:reasons": 2_000,  # 50 users of each group
    "monitoring/problems:unreachable_by_provider": 10_000,  # 200 connections, and 1,000 users of each
    "monitoring/problems:troubled_groups": 20_000,  # 100 connections, and 2,000 users of each
    "monitoring/activity:partner_histograms": 3_000,  # of 90 days; pages read one or two of them
    "monitoring/activity:partner_slots": 3_000,
    "monitoring/activity:provider_histograms": 10_000,
    "monitoring/activity:provider_slots": 10_000,
    "monitoring/activity:idler_samples": 2_000,  # 20 idlers and a day
    "watching/ownership:read_cluster": 500,
}

MAY_SCAN = frozenset({"accounts/room:count_live_users"})
"""Statements that may scan a large table."""

# Statements whose effect would end this session, or that only insert the rows that they are given.
NOT_RUN = frozenset({"delivery/sweeping:end_silent_holder", "accounts/new_users:insert_users"})

_USER, _SHARD, _IDLER = 4000, 4000, 1
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_BYTES = b"x" * 32
_STATUSES = '{"watching": "watching", "connecting": "watching"}'

# By the name of the parameter. `OF_STATEMENT` has those that mean something else in one statement.
ARGUMENTS: dict[str, object] = {
    "access_token": _BYTES, "account": f"user{_USER}@example.com", "after": 1e9,
    "announced_size": 1, "archived_code": "403", "archived_kind": "archived", "attempts": 1, "beat": 1,
    "bounds": list(LATENCY_BOUNDS_SECONDS),
    "capacity": 10, "coarse": DAY_SECONDS,
    "channel": "x", "client_secret": _BYTES, "code": [200], "connection_id": 1,
    "connection_ids": [1],
    "content": [b""], "count": 1, "credentials_version": 1, "dates": [_NOW], "days": 90.0, "deferred": [1],
    "delay": [0.0], "delivery_id": [uuid.UUID(int=2)], "detail": [None], "emails": [f"user{_USER}@example.com"],
    "endpoint_id": 1, "epoch": 1, "epochs": [1], "error": "x", "event_id": 1, "event_kind": "stalled",
    "every_idler": "",
    "expiry": 3e9, "fine": HOUR_SECONDS, "grain": 300, "lag": 90.0, "local_errors": ["x"],
    "partner_grain": PARTNER_GRAIN_SECONDS, "provider_grain": PROVIDER_GRAIN_SECONDS,
    "refused_kind": "reauth_required",
    "silent_kind": "stalled", "slice": 300.0, "source": "messages",
    "failing_seconds": 1.0, "fetched_ago": [None], "fingerprint": [_BYTES], "first": 0, "forget_after": 3e9,
    "found_by_date": [False], "groups": 100, "health_port": 1, "holder": 1, "holders": [1], "idler": _IDLER,
    "idler_ids": [*range(21)],
    "idlers": [_IDLER], "ids": [1, 2], "include_unhealthy": True, "internal_date": [_NOW], "is_connected": True,
    "is_first": True, "is_listed": True,
    "is_new": False, "is_refusal": False, "is_stopping": False, "late": timedelta(minutes=1),
    "keep_failed": True, "key": 1, "key_id": "k",
    "keys": [_BYTES], "last": 170, "last_mail_date": _NOW,
    "listed_since": _NOW, "names": ["INBOX", "Archive"],
    "last_mail_message_id": _BYTES, "last_mail_size": 1, "last_mail_uid": 1, "lease": 40.0, "left": 1.0,
    "life": 1.0, "lock_key": 1, "mailbox_id": _USER, "max_bytes": 10**12,
    "max_content_bytes": 10**6, "max_posts": 10, "max_rows": 250_000, "max_sessions": 10**6, "max_shards": 4096,
    "max_users": 10**6, "maximum": 10, "message": [1], "message_id": ["<x@example.com>"],
    "message_ids": ["<x@example.com>"], "messages": [1], "milliseconds": [1], "min_age": 1.0, "most": 100,
    "name": "INBOX", "acknowledge_seconds": 60.0, "ago": 1.0,
    "clean_up": "kept", "counted_failures": 16, "first_pause": 600.0, "is_certain": True, "is_long": False,
    "longest_pause": 18_000.0, "not_tried": ["x"],
    "late_seconds": 10.0, "missing_seconds": 300.0, "send_seconds": 30.0, "sent_by": "smtp",
    "sink_url": "https://tracers.superimap.invalid/", "spacing": 200.0, "tracer_id": 1, "claimed_ago": 1.0,
    "posted_ago": 1.0, "acknowledged_ago": 1.0, "delivery": uuid.UUID(int=2), "found_ago": [None],
    "found_by": [None], "new_last_internal_date": _NOW, "new_restarts": 0, "new_server_uid_validity": 1,
    "new_uid_validity": 1, "new_was_empty": False, "number": 1, "old_uid_validity": 1, "outcome": ["delivered"],
    "owner": _IDLER, "partner_id": 1, "payload": "", "per_partner": 10,
    "proven": asyncpg.BitString("01" * 512), "proven_ago": 0.0, "quota": "users", "reason": "x",
    "recovered_kind": "recovered", "refresh_token": None, "reopened": ["x"], "restart_interval": 1.0,
    "restored_kind": "restored", "retention": 1.0, "retry_in": 1.0, "room": 1, "seconds": 1.0, "sessions": 1,
    "sample": 50, "sha1": [_BYTES], "shard": _SHARD, "shards": [_SHARD], "shared_grant_type": "x",
    "size": [1], "space": 7,
    "silence": 600.0, "since": _NOW, "slots": [1], "standard": 10, "step": 300.0, "status_after": _STATUSES,
    "statuses": ["watching", "connecting", "backing_off"],
    "tags": [f"tag{_USER}"], "target": 2, "times": [_NOW], "token": uuid.UUID(int=1), "token_digest": [None],
    "tries": [1], "turn": 1,
    "twin_uid": [None], "uid": [10**9], "uid_validity": 1, "uids": [1, 2], "unhealthy": 10, "up_to": 10**9,
    "user_id": _USER, "user_ids": [_USER], "users": 1, "users_channel": "x", "version": 1, "voucher": 1,
    "full": [9],  # partners
    "sweep_id": 1, "running": [1], "state": "finished", "is_watched": True,
    "cleared_uid": [1], "failed_reason": ["x"], "failed_uid": [1], "give_up": 172_800.0, "longest_gap": 7_200.0,
    "up_to_uid": 1, "old_done_uid": None, "new_done_uid": 1, "looked_at": 1, "would_send": 0, "known": 0,
    "skipped": 0, "unreadable": 0,
    "vouchers": [1], "max_delay": 86_400.0, "failing": [1], "wanted": 1, "watched": [1, 2], "word": b"x",
}  # fmt: skip
_SETTLE: dict[str, object] = {
    "partner_id": [1], "endpoint_id": [1], "token": [uuid.UUID(int=1)], "number": [1], "age": [1.0],
    "error": [None], "body": [None], "attempt_id": [uuid.UUID(int=1)],
}  # fmt: skip
_HEALTHS: dict[str, object] = {
    name: [value] * 2 for name, value in {
        "failures": 0, "failing_since": None, "breaker": "closed", "width": None, "setbacks": 0, "probe_at": None,
        "disabled_at": None, "disabled_reason": None,
    }.items()
}  # fmt: skip
OF_STATEMENT: dict[str, dict[str, object]] = {
    "accounts/link_usage:count_tries": {"seconds": [1.0]},
    "accounts/link_usage:delete_expired": {"retention": timedelta(days=1)},
    "accounts/new_users:find_target": {"code": "GROWTH1"},
    "delivery/activity:coarsen_partners": {"days": 14.0},
    "delivery/activity:coarsen_providers": {"days": 14.0},
    "delivery/activity:delete_old_idlers": {"days": 2.0},
    "delivery/deliveries:claim_deliveries": {"limit": 10},
    "delivery/deliveries:fetch_contents": {"ids": [uuid.UUID(int=1)]},
    "delivery/deliveries:settle_attempts": _SETTLE,
    "delivery/deliveries:settle_attempts_and_archive": _SETTLE,
    "delivery/endpoints:update_healths": _HEALTHS,
    "delivery/liveness:mark_stalled": {"after": 900.0},
    "delivery/traces:read_traces": {"partner_ids": [1], "ids": [uuid.UUID(int=1)]},
    "delivery/sweeping:delete_old_messages": {"after": 0, "days": 60.0},
    "delivery/sweeping:erase_old_content": {"days": 14.0},
    "delivery/sweeping:delete_old_deliveries": {"days": 60.0},
    "monitoring/problems:reasons": {"statuses": ["authentication_failed"]},
    "watching/changes:find_copies": {"messages": [1], "originals": [1]},
    "watching/changes:load_tracked": {"examined": 1000, "compared": 500},
    "watching/changes:record_changes": {
        "looked_at": _NOW,
        "modseq": 1,
        "flags": ["\\Seen"],
        "absent_since": [None],
        "is_gone": [False],
        "messages": [1],
        "lowest_uid": 1,
        "delivery_ids": [uuid.UUID(int=3)],
        "contents": [_BYTES],
    },
    "watching/deferrals:record_failed_read": {"uid": 1},
    "watching/ownership:join_cluster": {"version": "1"},
    "watching/ownership:reserve_capacity": {"shards": 1},
    "watching/ownership:renew_lease": {"shards": 1},
    "watching/protocol_logs:write_lines": {"times": [1e9], "directions": ["sent"], "lines": ["x"]},
    "watching/recorded_mails:content_digests": {"uid": 1},
    "watching/sweeps:begin_sweep": {"up_to_uid": 1},
    "watching/sweeps:find_due": {"limit": 8},
    "watching/sweeps:record_sweep": {"found_by": 4, "found_ago": [1], "retry_in": [1.0]},
    "watching/sweeps:set_total": {"left": 1},
    "watching/tracers:make_tracer": {"token_digest": _BYTES},
    "watching/sessions:record_refusal": {"code": "login_refused"},
}


@dataclass(frozen=True, slots=True)
class Probe:
    """A statement to plan, by its name; `arguments` are those of its parameters in order."""

    name: str
    sql: str
    arguments: tuple[Any, ...]
    budget: int


def all_statements() -> dict[str, Statement]:
    """Return every statement of the `.sql` files, by file and name."""
    return {
        f"{file.relative_to(FOLDER).with_suffix('')}:{name}": statement
        for file in sorted(FOLDER.rglob("*.sql"))
        if file.name != "worker_privileges.sql"
        for name, statement in statements.load(str(file.with_suffix(".py"))).items()
    }


async def probes(db: asyncpg.Connection, *, batch: int) -> Iterator[Probe]:
    """Return the statements with arguments for this database; purges delete `batch` rows.

    Raises KeyError for a parameter without a value: add one to ARGUMENTS.
    """
    sending = await db.fetchval("SELECT delivery_id FROM delivery_leases WHERE endpoint_id = 1 LIMIT 1")
    last_uid = await db.fetchval("SELECT last_uid FROM mailboxes WHERE id = $1", _USER)
    known = await db.fetch("SELECT shard, bit_xor(digest) FROM shard_user_sums GROUP BY shard")
    here: dict[str, object] = {
        "id": [sending],
        "limit": batch,
        "known_digests": [row[1] for row in known],
        "known_shards": [row[0] for row in known],
        "new_last_uid": last_uid,
        "old_last_uid": last_uid,
        **await _new_rows(db, batch),
    }
    return _probes(here)


async def _new_rows(db: asyncpg.Connection, rows: int) -> dict[str, object]:
    """Return the parameters with which the rollup counts the last `rows` of each table."""
    settled = "SELECT settled_at FROM deliveries WHERE settled_at IS NOT NULL ORDER BY settled_at DESC"
    last_id = await db.fetchval("SELECT max(id) FROM messages")
    return {
        "count_to": await db.fetchval(f"{settled} LIMIT 1"),
        "counted_to": await db.fetchval(f"{settled} OFFSET $1 LIMIT 1", rows),
        "first_id": await db.fetchval("SELECT id FROM attempts ORDER BY id DESC OFFSET $1 LIMIT 1", rows),
        "end_id": uuid.UUID(int=2**128 - 1),
        "count_id": last_id,
        "counted_id": last_id - rows,
    }


def _probes(here: dict[str, object]) -> Iterator[Probe]:
    for name, statement in all_statements().items():
        if name not in NOT_RUN:
            given = ARGUMENTS | here | OF_STATEMENT.get(name, {})
            values = {parameter: given[parameter] for parameter in statement.parameters}
            sql, *arguments = statement.bind(**values)
            yield Probe(name, sql, tuple(arguments), BUDGETS.get(name, BUDGET_PAGES))
