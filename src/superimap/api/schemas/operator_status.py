"""Schemas of the state of the installation, for operators."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from superimap.api.schemas.cluster import ClusterIdler, ClusterShards
from superimap.domain.causes import Cause


class WatchedUsers(BaseModel):
    """Number of users by state of watching."""

    wanted: int = Field(description="Users that should be watched.")
    watched: int | None = Field(description="Users with a session; null unless `count_watched` was set.")
    unserved: int = Field(description="Users that no idler can watch.")


class ClusterState(BaseModel):
    """Status of the cluster at one moment."""

    idlers: list[ClusterIdler]
    shards: ClusterShards
    users: WatchedUsers
    moved: int = Field(description="Shards that changed owner within the last hour.")
    deferred_mails: int = Field(description="Mails of all users that could not be read yet.")


class CauseOut(BaseModel):
    """Problems that share something, and the first step against them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "title": "PLAIN refuses the sign-in of 12 mailboxes of acme",
                "since": "2026-09-21T14:13:20Z",
                "users": 12,
                "is_grave": True,
                "step": "Send these people a connect link: each must sign in again.",
                "scope": "connection",
                "object_kind": "connection",
                "object_id": 3,
                "reasons": ["NO [AUTHENTICATIONFAILED]"],
            }
        }
    )

    title: str = Field(description="What is wrong, in one sentence.")
    since: datetime | None
    users: int = Field(description="Number of users that are affected; 0 for an endpoint.")
    is_grave: bool = Field(description="Whether mail is late, or not seen.")
    step: str = Field(description="The first step against it.")
    scope: Literal["provider", "connection", "endpoint"] = Field(description="What the problems share.")
    object_kind: Literal["mailbox", "connection", "endpoint"] = Field(
        description="Where the first step begins."
    )
    object_id: int
    reasons: list[str] = Field(description="The most frequent reasons, in the words of the server.")

    @classmethod
    def of(cls, cause: Cause) -> "CauseOut":
        """Return a cause as it is shown."""
        return cls.model_validate(
            {
                "title": cause.title,
                "since": cause.since,
                "users": cause.users,
                "is_grave": cause.is_grave,
                "step": cause.step,
                "scope": cause.scope,
                "object_kind": cause.link[0],
                "object_id": cause.link[1],
                "reasons": [reason for reason, _ in cause.reasons],
            }
        )


class Situation(BaseModel):
    """What is wrong at this moment."""

    headline: str = Field(description="One sentence: whether a mailbox is not watched, or a webhook late.")
    is_grave: bool = Field(description="Whether one is.")
    causes: list[CauseOut] = Field(description="What the problems share, most users first.")
