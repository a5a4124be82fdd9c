"""Capacity of an installation: what a number of mailboxes and mails needs, computed from measured coefficients."""

from __future__ import annotations

import math
from dataclasses import dataclass

from superimap.domain.coefficients import Coefficients
from superimap.domain.demand import Demand, PlanError
from superimap.domain.shards import SHARD_COUNT

DAY_SECONDS = 86_400
IDLE_RENEW_SECONDS = 300
TOKEN_SECONDS = 3000
"""Time after which a session signs in again, on average, because its access token of an hour expires."""
MAX_CPU_SHARE = 0.6
"""Part of a core that a process may use at the peak, so that what comes at once does not queue."""
DISPATCHER_LANES = 300
IDLER_SESSIONS, DISPATCHER_SESSIONS = 1, 1
"""Connections that hold a lock or listen, which a pooler in transaction mode cannot share."""
POOLED_CONNECTIONS_PER_CORE = 4
"""Connections of a pooler to PostgreSQL. An assumption: more only wait for cores."""
POOLER_CPU_MS_PER_MAIL = 0.3
"""CPU of PostgreSQL for plans that it does not keep in a shared session (decision 55)."""
MIB_BYTES = 1024**2
GB_BYTES = 1e9


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a demand needs. CPU is in cores at the peak, memory in MiB, rates are per second."""

    demand: Demand
    coefficients: Coefficients
    peak_mails: float
    idlers: int
    idlers_left: int
    dispatchers: int
    apis: int

    @property
    def shards_per_idler(self) -> int:
        """The whole shards that an idler can have sessions for."""
        return shards_per_idler(self.demand)

    @property
    def renewals(self) -> float:
        """Renewals of IDLE."""
        return self.demand.mailboxes / IDLE_RENEW_SECONDS

    @property
    def routine_logins(self) -> float:
        """Logins because access tokens expire, if all users have some."""
        return self.demand.mailboxes / TOKEN_SECONDS

    @property
    def idler_cores(self) -> float:
        """Cores of all idlers."""
        return (_session_cpu_ms(self) + self.idlers * self.coefficients.idler_base_cpu_ms_per_s) / 1000

    @property
    def dispatcher_cores(self) -> float:
        """Cores of all dispatchers."""
        known = self.coefficients
        mails = self.peak_mails * known.dispatcher_cpu_ms_per_mail
        return (mails + self.dispatchers * known.dispatcher_base_cpu_ms_per_s) / 1000

    @property
    def postgres_cores(self) -> float:
        """Cores of PostgreSQL."""
        known = self.coefficients
        pooler = POOLER_CPU_MS_PER_MAIL if self.demand.has_pooler else 0.0
        mails = self.peak_mails * (known.postgres_cpu_ms_per_mail + pooler)
        sessions = (
            self.renewals * known.postgres_cpu_ms_per_renewal
            + self.routine_logins * known.postgres_cpu_ms_per_login
        )
        return (known.postgres_base_cpu_ms_per_s + mails + sessions) / 1000 + self.cluster_cores

    @property
    def cluster_cores(self) -> float:
        """Cores of PostgreSQL for rounds, heartbeats and looks of idlers: each reads the rows of all others."""
        known = self.coefficients
        each = (
            known.idler_postgres_cpu_ms_per_s
            + self.idlers * known.idler_postgres_cpu_us_per_s_per_idler / 1000
        )
        return self.idlers * each / 1000

    @property
    def idler_mib(self) -> float:
        """Memory of all idlers."""
        known = self.coefficients
        return self.idlers * known.idler_base_mib + self.demand.mailboxes * known.session_kib / 1024

    @property
    def dispatcher_mib(self) -> float:
        """Memory of all dispatchers."""
        return self.dispatchers * self.coefficients.dispatcher_base_mib

    @property
    def api_mib(self) -> float:
        """Memory of all API processes."""
        return self.apis * self.coefficients.api_base_mib

    @property
    def connections(self) -> float:
        """Connections to PostgreSQL; with a pooler those that it cannot share, and its own."""
        known = self.coefficients
        if self.demand.has_pooler:
            pooled = self.demand.postgres_cores * POOLED_CONNECTIONS_PER_CORE
            return self.idlers * IDLER_SESSIONS + self.dispatchers * DISPATCHER_SESSIONS + pooled
        return (
            self.idlers * known.idler_connections
            + self.dispatchers * known.dispatcher_connections
            + self.apis * known.api_connections
        )

    @property
    def user_bytes(self) -> float:
        """Rows and indexes of users, which are read all the time and should be in memory."""
        return self.demand.mailboxes * self.coefficients.disk_bytes_per_user

    @property
    def postgres_mib(self) -> float:
        """Memory of PostgreSQL: its connections, and the rows of users."""
        return self.connections * self.coefficients.backend_mib + self.user_bytes / MIB_BYTES

    @property
    def wal_per_mail(self) -> float:
        """Bytes of WAL for one mail."""
        known = self.coefficients
        return known.wal_bytes_per_mail + known.wal_bytes_per_mail_byte * self.demand.mail_kib * 1024

    @property
    def quiet_wal(self) -> float:
        """Bytes of WAL a second without mails."""
        known = self.coefficients
        return self.renewals * known.wal_bytes_per_renewal + self.routine_logins * known.wal_bytes_per_login

    @property
    def wal_per_day(self) -> float:
        """Bytes of WAL a day."""
        return self.demand.mails_per_day * self.wal_per_mail + DAY_SECONDS * self.quiet_wal

    @property
    def peak_wal(self) -> float:
        """Bytes of WAL a second at the peak."""
        return self.peak_mails * self.wal_per_mail + self.quiet_wal

    @property
    def disk_bytes(self) -> float:
        """Rows and indexes once the oldest are deleted as fast as new ones come."""
        kept = self.demand.mails_per_day * self.demand.retention_days
        return kept * self.coefficients.disk_bytes_per_mail + self.user_bytes

    @property
    def redis_cores(self) -> float:
        """Part of Redis' or Valkey's one core."""
        return self.peak_mails * self.coefficients.redis_cpu_ms_per_mail / 1000

    @property
    def mail_bits(self) -> float:
        """Bits a second from mail servers."""
        return self.peak_mails * self.demand.mail_kib * 1024 * 8

    @property
    def webhook_bits(self) -> float:
        """Bits a second to receivers."""
        return self.mail_bits * self.coefficients.webhook_bytes_per_mail_byte

    @property
    def lost_sessions(self) -> float:
        """Sessions that end with a zone; all of them where there is one zone."""
        return self.demand.mailboxes / self.demand.zones

    @property
    def allowed_logins(self) -> float:
        """Logins a second to one mail server that LOGINS_PER_SECOND allows the idlers that are left."""
        return self.idlers_left * self.demand.logins_per_second

    @property
    def possible_logins(self) -> float:
        """Logins a second that LOGINS_PER_SECOND allows and for which idlers and PostgreSQL have CPU."""
        known, share = self.coefficients, 1000 * MAX_CPU_SHARE
        by_idlers = _per_cost(self.idlers_left * share, known.idler_cpu_ms_per_login)
        by_postgres = _per_cost(self.demand.postgres_cores * share, known.postgres_cpu_ms_per_login)
        return min(self.allowed_logins, by_idlers, by_postgres)

    @property
    def relogin_seconds(self) -> float:
        """Time until the sessions of a lost zone exist again."""
        return self.lost_sessions / self.possible_logins

    @property
    def posts_per_endpoint(self) -> int:
        """POSTs in flight that one partner's endpoint needs at the peak."""
        return math.ceil(self.peak_mails / self.demand.partners * self.demand.answer_ms / 1000)


def compute(demand: Demand, coefficients: Coefficients) -> Capacity:
    """Return what the demand needs. Raises PlanError for an option that is out of range."""
    demand.check()
    peak = demand.mails_per_day / DAY_SECONDS * demand.peak_factor
    left = max(_idlers_for_shards(demand), _idlers_for_cpu(demand, coefficients, peak))
    idlers = left if demand.zones == 1 else math.ceil(left * demand.zones / (demand.zones - 1))
    busy = min(demand.partners, peak * demand.answer_ms / 1000)
    by_cpu = peak * coefficients.dispatcher_cpu_ms_per_mail / (1000 * MAX_CPU_SHARE)
    dispatchers = max(1, math.ceil(by_cpu), math.ceil(busy / DISPATCHER_LANES))
    if demand.zones > 1:
        dispatchers = math.ceil(dispatchers * demand.zones / (demand.zones - 1))
    return Capacity(demand, coefficients, peak, idlers, left, dispatchers, apis=demand.zones)


def shards_per_idler(demand: Demand) -> int:
    """Return the whole shards that an idler can have sessions for."""
    return min(SHARD_COUNT, SHARD_COUNT * demand.max_sessions // demand.mailboxes)


def _idlers_for_shards(demand: Demand) -> int:
    return math.ceil(SHARD_COUNT / shards_per_idler(demand))


def _idlers_for_cpu(demand: Demand, coefficients: Coefficients, peak: float) -> int:
    """Idlers whose cores suffice. Raises PlanError if an idler without sessions already has no core left."""
    room = 1000 * MAX_CPU_SHARE - coefficients.idler_base_cpu_ms_per_s
    if room <= 0:
        raise PlanError("idler_base_cpu_ms_per_s of the coefficients leaves an idler no time for sessions")
    return math.ceil(_sessions_ms(demand, coefficients, peak) / room) or 1


def _session_cpu_ms(capacity: Capacity) -> float:
    return _sessions_ms(capacity.demand, capacity.coefficients, capacity.peak_mails)


def _sessions_ms(demand: Demand, coefficients: Coefficients, peak: float) -> float:
    """CPU milliseconds a second of all sessions and their mails."""
    quiet = (
        coefficients.idler_cpu_ms_per_renewal / IDLE_RENEW_SECONDS
        + coefficients.idler_cpu_ms_per_login / TOKEN_SECONDS
    )
    return demand.mailboxes * quiet + peak * coefficients.idler_cpu_ms_per_mail


def _per_cost(room: float, cost: float) -> float:
    """How often something of this cost fits; what costs nothing fits any number of times."""
    return room / cost if cost > 0 else math.inf
