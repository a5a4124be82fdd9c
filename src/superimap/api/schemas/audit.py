"""Schema of an entry of the audit log."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from superimap.domain.audit import ActorKind, AuditAction


class AuditEntryOut(BaseModel):
    """A change of something of yours."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "id": 4711,
                "at": "2026-09-21T14:13:20Z",
                "actor_kind": "api_key",
                "actor": "7",
                "action": "user.update",
                "object_id": "42",
                "fields": ["login_password"],
                "details": {"tag": "MY_USER", "imap_provider_code": "PLAIN"},
            }
        },
    )

    id: int
    at: datetime
    actor_kind: ActorKind
    actor: str | None = Field(
        description="Id of the API key, or of the user with the link; null for operators and portals."
    )
    action: AuditAction
    object_id: str | None = Field(description="Id of the object, which the first part of `action` names.")
    fields: list[str] = Field(description="Names of the fields that changed.")
    details: dict[str, Any] = Field(description="Values that are not secret.")
