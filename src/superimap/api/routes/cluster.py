"""Is everybody watched? /operators/cluster, for those who run the installation; not for partners."""

import hmac
from datetime import datetime
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

from superimap.api.deps import Db, Opened
from superimap.api.errors import Problem
from superimap.api.openapi import problems
from superimap.db.monitoring import sight

TAG = "operators"

_in_header = APIKeyHeader(
    name="x-operator-key",
    scheme_name="OperatorKeyHeader",
    auto_error=False,
    description="OPERATOR_KEY of the settings.",
)
_as_bearer = HTTPBearer(
    scheme_name="OperatorKeyBearer", auto_error=False, description="The same as `Authorization: Bearer`."
)


def operator(
    opened: Opened,
    header: Annotated[str | None, Depends(_in_header)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_as_bearer)],
) -> None:
    """Let in whoever sent OPERATOR_KEY; 401 for everybody else, partners too."""
    wanted = opened.settings.operator_key
    sent = header or (bearer.credentials if bearer else "")
    if wanted is None or not _same(sent, wanted.get_secret_value()):
        raise Problem(
            401,
            "This is for operators. Send OPERATOR_KEY in the header x-operator-key.",
            headers={"WWW-Authenticate": 'Bearer realm="superimap operators"'},
        )


def _same(sent: str, wanted: str) -> bool:
    """Compared as digests: the time it takes tells neither length nor content."""
    digests = (sha256(each.encode("utf-8", "surrogateescape")).digest() for each in (sent, wanted))
    return hmac.compare_digest(*digests)


router = APIRouter(prefix="/operators", tags=[TAG], dependencies=[Depends(operator)])


class ClusterIdler(BaseModel):
    """An idler as the database knows it."""

    id: int
    name: str = Field(description="Its host's name.")
    address: str | None = Field(description="Where PostgreSQL sees it; null: through a socket.")
    version: str
    started_at: datetime
    capacity: int = Field(description="Its MAX_SESSIONS.")
    sessions: int = Field(description="IMAP sessions at its last heartbeat.")
    is_full: bool
    is_stopping: bool
    is_alive: bool = Field(description="Whether its heartbeat is younger than HEARTBEAT_EXPIRY.")
    heartbeat_age: float = Field(description="Seconds since its last heartbeat, by PostgreSQL's clock.")
    shards: int
    users: int = Field(description="Users of its shards who should be watched.")
    unserved: int = Field(description="Those of them that it cannot watch.")


class ClusterShards(BaseModel):
    """Shards by who owns them."""

    owned: int = Field(description="By a living idler.")
    free: int = Field(description="By nobody.")
    expired: int = Field(description="By an idler that fell silent.")


class ClusterUsers(BaseModel):
    """Users by whether they are watched."""

    wanted: int = Field(description="Who should be watched.")
    watched: int = Field(description="Whose session stands, at a living idler.")
    unserved: int = Field(
        description="Whose shard no living idler owns, and those beyond an idler's capacity."
    )


class Cluster(BaseModel):
    """One look at the cluster."""

    idlers: list[ClusterIdler]
    shards: ClusterShards
    users: ClusterUsers
    moved: int = Field(description="Shards that changed owner within the last hour.")


@router.get("/cluster", summary="Is everybody watched?", responses=problems(401, 503))
async def show_cluster(opened: Opened, db: Db) -> Cluster:
    """The idlers, who owns the shards, and how many users are watched: what `superimap cluster` shows."""
    seen = await sight.look_in(db, expiry=opened.settings.heartbeat_expiry)
    return Cluster.model_validate(seen.as_dict())
