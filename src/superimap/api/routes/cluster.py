"""Is everybody watched? /operators/cluster, for those who run the installation; not for partners."""

import hmac
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from superimap.api.dependencies import AppResources, Db
from superimap.api.errors import Problem
from superimap.api.openapi import problems
from superimap.api.schemas.cluster import Cluster
from superimap.db.monitoring import statuses

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
    opened: AppResources,
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


@router.get("/cluster", summary="Is everybody watched?", responses=problems(401, 503))
async def show_cluster(opened: AppResources, db: Db) -> Cluster:
    """The idlers, who owns the shards, and how many users are watched: what `superimap cluster` shows."""
    seen = await statuses.read_cluster_status(db, expiry=opened.settings.heartbeat_expiry)
    return Cluster.model_validate(seen.as_dict())
