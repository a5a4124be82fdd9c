"""The lines of a capacity plan: name, amount, and what each amount is computed from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from superimap.domain.capacity import (
    DAY_SECONDS,
    DISPATCHER_SESSIONS,
    GB_BYTES,
    IDLER_SESSIONS,
    MAX_CPU_SHARE,
    POOLED_CONNECTIONS_PER_CORE,
    POOLER_CPU_MS_PER_MAIL,
    Capacity,
)
from superimap.domain.shards import SHARD_COUNT

LEAST_SHOWN = 0.001
"""Smallest number that is shown, whatever its unit."""


@dataclass(frozen=True, slots=True)
class PlanLine:
    """One need. `basis` names the coefficients from which the value comes, with their values."""

    key: str
    name: str
    value: float
    unit: str
    basis: str

    @property
    def amount(self) -> str:
        """The value for people, with its unit."""
        return f"{number(self.value)} {self.unit}".strip()


def lines(capacity: Capacity) -> list[PlanLine]:
    """Return all needs in the order in which they are shown."""
    parts = (_processes, _cores, _memory, _postgres, _network)
    return [line for part in parts for line in part(capacity)]


def number(value: float) -> str:
    """Return a number for people, never with an exponent: three digits, or all of a whole number."""
    if 0 < value < LEAST_SHOWN:
        return f"<{LEAST_SHOWN:g}"
    if value == int(value) or value >= 999.5:  # which three digits would round to 1e+03
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _costs(capacity: Capacity, *names: str) -> str:
    """Return coefficients with their values."""
    return ", ".join(f"{name} {getattr(capacity.coefficients, name):g}" for name in names)


def _processes(capacity: Capacity) -> Iterator[PlanLine]:
    demand = capacity.demand
    spare = f" without one of {demand.zones} zones" if demand.zones > 1 else ""
    shards = (
        f"{capacity.idlers_left:,} suffice{spare}: {capacity.shards_per_idler:,} of {SHARD_COUNT:,} shards each "
        f"at MAX_SESSIONS {demand.max_sessions:,}, and {MAX_CPU_SHARE:.0%} of a core"
    )
    yield PlanLine("idlers", "idlers", capacity.idlers, "", shards)
    cores = f"{MAX_CPU_SHARE:.0%} of a core each{spare}; {_costs(capacity, 'dispatcher_cpu_ms_per_mail')}"
    yield PlanLine("dispatchers", "dispatchers", capacity.dispatchers, "", cores)
    yield PlanLine("apis", "API processes", capacity.apis, "", "one in each zone; more for many requests")


def _cores(capacity: Capacity) -> Iterator[PlanLine]:
    idlers = _costs(capacity, "idler_cpu_ms_per_renewal", "idler_cpu_ms_per_login", "idler_cpu_ms_per_mail")
    yield PlanLine("idler_cores", "CPU of idlers", capacity.idler_cores, "cores", idlers)
    dispatchers = _costs(capacity, "dispatcher_cpu_ms_per_mail", "dispatcher_base_cpu_ms_per_s")
    yield PlanLine("dispatcher_cores", "CPU of dispatchers", capacity.dispatcher_cores, "cores", dispatchers)
    postgres = _costs(
        capacity,
        "postgres_cpu_ms_per_mail",
        "postgres_cpu_ms_per_renewal",
        "postgres_cpu_ms_per_login",
        "idler_postgres_cpu_ms_per_s",
        "idler_postgres_cpu_us_per_s_per_idler",
    )
    idlers = f"; {number(capacity.cluster_cores)} cores of it for rounds and heartbeats of idlers"
    if capacity.demand.has_pooler:
        idlers += f"; the pooler adds {POOLER_CPU_MS_PER_MAIL:g} ms per mail (decision 55)"
    yield PlanLine("postgres_cores", "CPU of PostgreSQL", capacity.postgres_cores, "cores", postgres + idlers)
    redis = f"{_costs(capacity, 'redis_cpu_ms_per_mail')}; it uses one core, and little memory"
    yield PlanLine("redis_cores", "CPU of Redis/Valkey", capacity.redis_cores, "cores", redis)


def _memory(capacity: Capacity) -> Iterator[PlanLine]:
    idlers = f"{_costs(capacity, 'session_kib', 'idler_base_mib')}; BYTES_IN_FLIGHT is extra"
    yield PlanLine("idler_gib", "memory of idlers", capacity.idler_mib / 1024, "GiB", idlers)
    dispatchers = _costs(capacity, "dispatcher_base_mib")
    yield PlanLine(
        "dispatcher_gib", "memory of dispatchers", capacity.dispatcher_mib / 1024, "GiB", dispatchers
    )
    api = _costs(capacity, "api_base_mib")
    yield PlanLine("api_gib", "memory of the API", capacity.api_mib / 1024, "GiB", api)
    postgres = f"{_costs(capacity, 'backend_mib', 'disk_bytes_per_user')}: connections, and rows of users"
    yield PlanLine("postgres_gib", "memory of PostgreSQL", capacity.postgres_mib / 1024, "GiB", postgres)


def _postgres(capacity: Capacity) -> Iterator[PlanLine]:
    connections = _costs(capacity, "idler_connections", "dispatcher_connections", "api_connections")
    if capacity.demand.has_pooler:
        connections = (
            f"{IDLER_SESSIONS} of each idler and {DISPATCHER_SESSIONS} of each dispatcher, which a pooler cannot "
            f"share; it has {POOLED_CONNECTIONS_PER_CORE} for each core of PostgreSQL (assumed)"
        )
    yield PlanLine("connections", "PostgreSQL connections", capacity.connections, "", connections)
    names = ("wal_bytes_per_mail", "wal_bytes_per_mail_byte", "wal_bytes_per_renewal", "wal_bytes_per_login")
    quiet = f"; {number(DAY_SECONDS * capacity.quiet_wal / GB_BYTES)} GB of it without mails"
    wal = _costs(capacity, *names) + quiet
    yield PlanLine("wal_gb_per_day", "WAL per day", capacity.wal_per_day / GB_BYTES, "GB", wal)
    days = f"disk after {capacity.demand.retention_days:g} days"
    disk = _costs(capacity, "disk_bytes_per_mail", "disk_bytes_per_user")
    more = "; WAL, backups, and contents of webhooks that wait are extra"
    yield PlanLine("disk_gb", days, capacity.disk_bytes / GB_BYTES, "GB", disk + more)


def _network(capacity: Capacity) -> Iterator[PlanLine]:
    demand = capacity.demand
    mails = f"mails of {demand.mail_kib:g} KiB at the peak"
    yield PlanLine("mail_mbit_per_s", "network, mails in", capacity.mail_bits / 1e6, "Mbit/s", mails)
    posts = f"{_costs(capacity, 'webhook_bytes_per_mail_byte')}; as much to and from PostgreSQL"
    yield PlanLine(
        "webhook_mbit_per_s", "network, webhooks out", capacity.webhook_bits / 1e6, "Mbit/s", posts
    )
    lost = "all sessions" if demand.zones == 1 else f"{number(capacity.lost_sessions)} sessions of one zone"
    logins = (
        f"{lost} in {number(capacity.relogin_seconds)} s, if all are at one mail server. LOGINS_PER_SECOND "
        f"{demand.logins_per_second:g} of {capacity.idlers_left:,} idlers: {number(capacity.allowed_logins)}; "
        + _costs(capacity, "idler_cpu_ms_per_login", "postgres_cpu_ms_per_login")
    )
    yield PlanLine("logins_per_s", "logins after a loss", capacity.possible_logins, "a second", logins)
