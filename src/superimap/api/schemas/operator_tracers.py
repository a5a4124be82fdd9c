"""Schemas of the state of tracers, for operators."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from superimap.db.monitoring.tracers import ProviderTracers, TracerCounts
from superimap.domain.tracers import OBJECTIVE_DAYS, OBJECTIVE_SHARE, TracerHealth, TracerVerdict


class TracerCountsOut(BaseModel):
    """Number of tracers by verdict."""

    detected: int = Field(description="Recorded within 10 s of INTERNALDATE.")
    late: int = Field(description="Recorded later.")
    missing: int = Field(description="Not there 5 minutes after they were accepted.")
    unsendable: int = Field(description="Not sent; they do not count for the objective.")


class ProviderTracersOut(BaseModel):
    """State of the tracers of one provider."""

    code: str
    tracer_by: str | None = Field(description="smtp, append, or null if none are sent any more.")
    health: TracerHealth = Field(description="By the last tracer; unchecked if it is older than six hours.")
    last_at: datetime | None = Field(description="When the last tracer with a verdict was made.")
    last_verdict: TracerVerdict | None
    failure: str | None = Field(description="Why the last one was not sent.")
    counts: TracerCountsOut

    @classmethod
    def of(cls, row: ProviderTracers) -> Self:
        """Return what is shown of a provider."""
        counts = TracerCountsOut.model_validate(asdict(row.counts))
        return cls(
            code=row.code,
            tracer_by=row.tracer_by,
            health=row.health,
            last_at=row.last_at,
            last_verdict=row.last_verdict,
            failure=row.failure,
            counts=counts,
        )


class TracersState(BaseModel):
    """The objective over all providers, and the state of each."""

    objective: float = Field(description="Part of the tracers that must arrive in time.")
    days: int = Field(description="Days over which the objective is computed.")
    share: float | None = Field(description="Part that arrived in time; null without any.")
    budget_left: float = Field(description="Part of the error budget that is left; negative if exceeded.")
    counts: TracerCountsOut
    providers: list[ProviderTracersOut]

    @classmethod
    def of(cls, total: TracerCounts, providers: Sequence[ProviderTracersOut]) -> Self:
        """Return the state with the counts of all providers."""
        return cls(
            objective=OBJECTIVE_SHARE,
            days=OBJECTIVE_DAYS,
            share=total.share,
            budget_left=total.budget_left,
            counts=TracerCountsOut.model_validate(asdict(total)),
            providers=list(providers),
        )
