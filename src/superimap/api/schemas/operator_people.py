"""Schemas of operators, their tokens, and the audit log, for operators."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from superimap.api.schemas.audit import AuditEntryOut
from superimap.api.schemas.common import RequestBody
from superimap.domain.operators import OperatorRole


class OperatorOut(BaseModel):
    """A person who operates the installation."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "id": 1,
                "email": "ada@example.com",
                "role": "owner",
                "created_at": "2026-09-21T14:13:20Z",
                "signed_in_at": "2026-09-24T10:12:00Z",
                "locked_until": None,
                "disabled_at": None,
            }
        },
    )

    id: int
    email: str
    role: OperatorRole
    created_at: datetime
    signed_in_at: datetime | None = Field(description="Last sign-in to the dashboard.")
    locked_until: datetime | None = Field(description="Until when passwords are refused.")
    disabled_at: datetime | None


class OperatorChange(RequestBody):
    """Changes to an operator. All sessions of the operator end, and the tokens above the new role."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"role": "viewer"}})

    role: OperatorRole | None = Field(None, description="New role; left out: unchanged.")
    is_disabled: bool | None = Field(None, description="Whether the operator may not sign in.")


class OperatorTokenOut(BaseModel):
    """The token of a request, and for whom it acts."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "operator": "ada@example.com",
                "name": "backup",
                "hint": "sio_3fM0",
                "role": "viewer",
                "is_confirmed": False,
                "expires_at": "2026-12-21T14:13:20Z",
            }
        }
    )

    operator: str
    name: str
    hint: str = Field(description="First characters of the token.")
    role: OperatorRole
    is_confirmed: bool = Field(description="Whether it may do what needs a confirmed identity.")
    expires_at: datetime


class RecordedChange(AuditEntryOut):
    """An entry of the audit log, with who made it."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "id": 4711,
                "at": "2026-09-21T14:13:20Z",
                "actor_kind": "operator",
                "actor": "ada@example.com",
                "partner_id": 1,
                "action": "partner.update",
                "object_id": "1",
                "fields": ["new_mail_webhook"],
                "details": {"token": "backup", "role": "operator", "address": "192.0.2.1"},
            }
        },
    )

    actor: str | None = Field(description="Who made it: an address, an id, or the name of a program.")
    partner_id: int | None
    details: dict[str, Any] = Field(description="Values that are not secret.")
