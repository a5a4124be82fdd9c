"""Schemas of jobs, for operators."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from superimap.api.schemas.common import LenientText, RequestBody
from superimap.api.schemas.deliveries import Moment
from superimap.domain.audit import ActorKind
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind
from superimap.domain.jobs import JobKind, JobState


class NewJob(RequestBody):
    """Selects the webhooks of a partner that a job sends again or cancels.

    An unknown field, or null, is refused: ignoring either would widen the selection to all webhooks.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"kind": "replay_deliveries", "partner_id": 1, "since": "2026-09-21T14:00:00Z"}
        },
    )

    kind: JobKind = Field(description="What the job does.")
    partner_id: int = Field(ge=1, lt=2**63)
    state: DeliveryState | None = Field(
        None, description="`failed` (the default) or `cancelled` for a replay; `pending` for a cancellation."
    )
    event_kind: EventKind | None = Field(None, description="Only webhooks of this kind.")
    user_tag: LenientText = Field(None, description="Only webhooks about the user with this tag.")
    since: Moment | None = Field(None, description="Only webhooks created at this time or later.")
    until: Moment | None = Field(None, description="Only webhooks created before this time.")

    @field_validator("*", mode="before")
    @classmethod
    def _is_not_null(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("must not be null; leave it out to select any")
        return value


class JobPlan(BaseModel):
    """What a job would do now."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "kind": "replay_deliveries",
                "partner_id": 1,
                "count": 312,
                "erased": 7,
                "blocked": 0,
                "needs_confirmation": False,
            }
        }
    )

    kind: JobKind
    partner_id: int
    count: int = Field(description="Webhooks that it would change; 10,001 stands for more than 10,000.")
    erased: int = Field(description="Webhooks that match, but cannot be sent, as their content is erased.")
    blocked: int = Field(description="Webhooks that match, but whose kind has no enabled endpoint.")
    needs_confirmation: bool = Field(
        description="Whether only a token may start it that may do what needs a confirmed identity."
    )


class JobOut(BaseModel):
    """A job with its progress."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "id": 4,
                "kind": "replay_deliveries",
                "partner_id": 1,
                "plan": {"state": "failed", "since": "2026-09-21T14:00:00+00:00"},
                "actor_kind": "operator",
                "made_by": "ada@example.com",
                "state": "running",
                "total": 312,
                "done": 250,
                "failed": 0,
                "error": None,
                "started_at": "2026-09-22T08:00:00Z",
                "finished_at": None,
            }
        },
    )

    id: int
    kind: str
    partner_id: int
    plan: dict[str, Any] = Field(description="What it selects.")
    actor_kind: ActorKind = Field(
        description="Who started it: an operator, or a person in the partner's portal."
    )
    made_by: str = Field(
        description="The operator. Of a portal: who made its link, an operator or the id of an API key."
    )
    state: JobState
    total: int | None = Field(description="How many it selected at its start; null: more than 10,000.")
    done: int
    failed: int = Field(description="How many could not be changed.")
    error: str | None
    started_at: datetime
    finished_at: datetime | None
