"""Demand on an installation: the options of `superimap plan`, with their ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass

from superimap.core.errors import SuperImapError
from superimap.domain.shards import SHARD_COUNT


class PlanError(SuperImapError):
    """An option of a plan is out of range; the message names it."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What an installation is to do, and the settings that decide its size. `answer_ms` is that of receivers."""

    mailboxes: int
    mails_per_day: int
    partners: int = 10
    mail_kib: float = 5.0
    peak_factor: float = 3.0
    max_sessions: int = 10_000
    zones: int = 3
    logins_per_second: float = 100.0
    answer_ms: float = 100.0
    retention_days: float = 90.0
    postgres_cores: int = 64
    has_pooler: bool = False

    def check(self) -> None:
        """Raise PlanError for the first option that is out of range."""
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:  # also refuses nan
                raise PlanError(f"{option(name)} must be from {least:,} to {most:,}; got {value:,}")
        if self.partners > self.mailboxes:
            raise PlanError(f"--partners must not exceed --mailboxes; got {self.partners:,}")
        if self.mailboxes > SHARD_COUNT * self.max_sessions:
            least = math.ceil(self.mailboxes / SHARD_COUNT)
            raise PlanError(
                f"--max-sessions must be at least {least:,}: mailboxes are shared in {SHARD_COUNT:,} parts, "
                f"and an idler takes whole ones; got {self.max_sessions:,}"
            )


RANGES: dict[str, tuple[float, float]] = {
    "mailboxes": (1, 1_000_000_000),
    "mails_per_day": (0, 1_000_000_000_000),
    "partners": (1, 1_000_000),
    "mail_kib": (0.1, 65_536),
    "peak_factor": (1, 1000),
    "max_sessions": (1, 1_000_000),
    "zones": (1, 100),
    "logins_per_second": (0.01, 10_000),
    "answer_ms": (1, 30_000),
    "retention_days": (1, 3650),
    "postgres_cores": (1, 1024),
}


def option(name: str) -> str:
    """Return the option of `superimap plan` for a field of Demand."""
    return "--" + name.replace("_", "-")
