"""Coefficients of a capacity plan: what one session, mail or process costs, as measured by a benchmark."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from superimap.core.errors import SuperImapError


class InvalidCoefficients(SuperImapError):
    """A file of coefficients lacks one, or holds a value that is no number of 0 or more."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Measured costs; the unit is the end of each name. `MEANINGS` says what each one is."""

    session_kib: float
    idler_base_mib: float
    dispatcher_base_mib: float
    api_base_mib: float
    backend_mib: float
    idler_base_cpu_ms_per_s: float
    dispatcher_base_cpu_ms_per_s: float
    api_base_cpu_ms_per_s: float
    postgres_base_cpu_ms_per_s: float
    idler_cpu_ms_per_renewal: float
    postgres_cpu_ms_per_renewal: float
    idler_cpu_ms_per_login: float
    postgres_cpu_ms_per_login: float
    idler_cpu_ms_per_mail: float
    dispatcher_cpu_ms_per_mail: float
    postgres_cpu_ms_per_mail: float
    redis_cpu_ms_per_mail: float
    wal_bytes_per_mail: float
    wal_bytes_per_mail_byte: float
    wal_bytes_per_renewal: float
    wal_bytes_per_login: float
    disk_bytes_per_mail: float
    disk_bytes_per_user: float
    webhook_bytes_per_mail_byte: float
    idler_connections: float
    dispatcher_connections: float
    api_connections: float
    idler_postgres_cpu_ms_per_s: float
    idler_postgres_cpu_us_per_s_per_idler: float


MEANINGS = {
    "session_kib": "memory of an idle session with TLS",
    "idler_base_mib": "memory of an idler without sessions",
    "dispatcher_base_mib": "memory of a dispatcher",
    "api_base_mib": "memory of an API process",
    "backend_mib": "memory of a PostgreSQL connection, without shared buffers",
    "idler_base_cpu_ms_per_s": "CPU of an idler without sessions",
    "dispatcher_base_cpu_ms_per_s": "CPU of a dispatcher without mails",
    "api_base_cpu_ms_per_s": "CPU of an API process without requests",
    "postgres_base_cpu_ms_per_s": "CPU of PostgreSQL with one process of each kind",
    "idler_cpu_ms_per_renewal": "CPU of an idler for one renewal of IDLE",
    "postgres_cpu_ms_per_renewal": "CPU of PostgreSQL for one renewal of IDLE",
    "idler_cpu_ms_per_login": "CPU of an idler for one login with TLS",
    "postgres_cpu_ms_per_login": "CPU of PostgreSQL for one login",
    "idler_cpu_ms_per_mail": "CPU of an idler for one mail of 5 KiB",
    "dispatcher_cpu_ms_per_mail": "CPU of a dispatcher for one mail of 5 KiB, under load",
    "postgres_cpu_ms_per_mail": "CPU of PostgreSQL for one mail of 5 KiB, under load",
    "redis_cpu_ms_per_mail": "CPU of Valkey for one mail, under load",
    "wal_bytes_per_mail": "WAL for one mail, without its content",
    "wal_bytes_per_mail_byte": "WAL for one byte of mail",
    "wal_bytes_per_renewal": "WAL for one renewal of IDLE of a quiet session",
    "wal_bytes_per_login": "WAL for one login",
    "disk_bytes_per_mail": "rows and indexes of one delivered mail",
    "disk_bytes_per_user": "rows and indexes of one user",
    "webhook_bytes_per_mail_byte": "size of a webhook for one byte of mail",
    "idler_connections": "PostgreSQL connections of an idler at work",
    "dispatcher_connections": "PostgreSQL connections of a dispatcher at work",
    "api_connections": "PostgreSQL connections of an API process at work",
    "idler_postgres_cpu_ms_per_s": "CPU of PostgreSQL for an idler's rounds, heartbeats and looks",
    "idler_postgres_cpu_us_per_s_per_idler": "the same, more for each other idler",
}


def read_coefficients(values: Mapping[str, Any]) -> Coefficients:
    """Check and return coefficients. Raises InvalidCoefficients that names the faulty one."""
    found: dict[str, float] = {}
    for each in fields(Coefficients):
        value = values.get(each.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidCoefficients(f"{each.name} must be a number; got {value!r}")
        if not math.isfinite(value) or value < 0:
            raise InvalidCoefficients(f"{each.name} must be 0 or more; got {value!r}")
        found[each.name] = float(value)
    return Coefficients(**found)
