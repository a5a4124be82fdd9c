"""Schemas of the cluster status, for operators."""

from datetime import datetime

from pydantic import BaseModel, Field


class ClusterIdler(BaseModel):
    """An idler, as the database describes it."""

    id: int
    name: str = Field(description="Name of its host.")
    address: str | None = Field(description="Its address as PostgreSQL sees it; null for a Unix socket.")
    version: str
    started_at: datetime
    capacity: int = Field(description="Its MAX_SESSIONS.")
    sessions: int = Field(description="IMAP sessions at its last heartbeat.")
    is_full: bool
    is_stopping: bool
    is_alive: bool = Field(
        description="Whether its process exists and its heartbeat is younger than HEARTBEAT_EXPIRY."
    )
    heartbeat_age: float = Field(description="Seconds since its last heartbeat, by PostgreSQL's clock.")
    shards: int
    users: int = Field(description="Users in its shards that should be watched.")
    unserved: int = Field(description="Those of these users that it cannot watch.")


class ClusterShards(BaseModel):
    """Number of shards by state of ownership."""

    owned: int = Field(description="Owned by a living idler.")
    free: int = Field(description="Owned by no idler.")
    expired: int = Field(description="Owned by an idler that is not alive.")


class ClusterUsers(BaseModel):
    """Number of users by state of watching."""

    wanted: int = Field(description="Users that should be watched.")
    watched: int = Field(
        description="Users with an established session at the living idler that owns their shard."
    )
    unserved: int = Field(
        description="Users whose shard no living idler owns, and those beyond an idler's capacity."
    )


class Cluster(BaseModel):
    """Status of the cluster at one moment."""

    idlers: list[ClusterIdler]
    shards: ClusterShards
    users: ClusterUsers
    moved: int = Field(description="Shards that changed owner within the last hour.")
    deferred_mails: int = Field(description="Mails of all users that could not be read yet.")
