"""Schemas of the creation of many users by one request."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from superimap.api.schemas.accounts import USER_EXAMPLE, NewUser, UserOut
from superimap.api.schemas.common import ProblemOut, RequestBody

MAX_BATCH_USERS = 1000

_PEOPLE: Any = [
    {"tag": "ADA", "email": "ada@example.com", "login_username": "ada", "login_password": "s3cret"},
    {"tag": "GRACE", "email": "grace@example.com"},
]


class NewUserBatch(RequestBody):
    """Users to create."""

    model_config = ConfigDict(json_schema_extra={"example": {"users": _PEOPLE}})

    users: list[NewUser] = Field(
        min_length=1, max_length=MAX_BATCH_USERS, description="Up to 1,000 users. Each is judged by itself."
    )


class BatchOutcome(StrEnum):
    """What became of a user in a batch."""

    CREATED = "created"
    EXISTS = "exists"
    INVALID = "invalid"
    REFUSED = "refused"


class BatchResult(BaseModel):
    """Result of one user of a batch."""

    index: int = Field(description="Position in `users` of the request, from 0.")
    outcome: BatchOutcome = Field(
        description="`created`; `exists`: a live user has this tag, and is not changed; `invalid`: a field is "
        "wrong; `refused`: another user has the email, a quota is reached, or too many passwords were set."
    )
    user: UserOut | None = Field(description="The user that was created, or has the tag already; else null.")
    problem: ProblemOut | None = Field(
        description="The problem with which `POST …/users` answers; null if the user was created."
    )


_RESULTS: Any = [
    {"index": 0, "outcome": "created", "user": {**USER_EXAMPLE}, "problem": None},
    {
        "index": 1,
        "outcome": "refused",
        "user": None,
        "problem": {
            "type": "urn:superimap:problem:taken",
            "title": "Conflict",
            "status": 409,
            "detail": "Another user of this connection already has this email (letter case is ignored). "
            "Update or archive that user.",
            "errors": [{"field": "email", "message": "is taken"}],
        },
    },
]


class UserBatchOut(BaseModel):
    """Results of a batch, in the order of its users."""

    model_config = ConfigDict(json_schema_extra={"example": {"results": _RESULTS}})

    results: list[BatchResult]
