"""Cluster status for operators: /operators/cluster."""

import hmac
from hashlib import sha256
from typing import Annotated

from fastapi import Depends
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from superimap.api.dependencies import AppResources, Db
from superimap.api.errors import Problem
from superimap.api.openapi import problem_responses
from superimap.api.router import Router
from superimap.api.schemas.cluster import Cluster
from superimap.db.monitoring import statuses

TAG = "operators"

_in_header = APIKeyHeader(
    name="x-operator-key",
    scheme_name="OperatorKeyHeader",
    auto_error=False,
    description="The operator key: OPERATOR_KEY in the settings.",
)
_as_bearer = HTTPBearer(
    scheme_name="OperatorKeyBearer",
    auto_error=False,
    description="The operator key as `Authorization: Bearer`.",
)


async def require_operator(
    resources: AppResources,
    header: Annotated[str | None, Depends(_in_header)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_as_bearer)],
) -> None:
    """Require OPERATOR_KEY; 401 without it, also for API keys of partners."""
    expected = resources.settings.operator_key
    sent = header or (bearer.credentials if bearer else "")
    if expected is None or not _equal(sent, expected.get_secret_value()):
        raise Problem(
            401,
            "This address is for operators. Send OPERATOR_KEY in the header x-operator-key.",
            headers={"WWW-Authenticate": 'Bearer realm="superimap operators"'},
        )


def _equal(sent: str, expected: str) -> bool:
    """Compare digests, so that the time taken reveals neither length nor content."""
    digests = (sha256(each.encode("utf-8", "surrogateescape")).digest() for each in (sent, expected))
    return hmac.compare_digest(*digests)


router = Router(prefix="/operators", tags=[TAG], dependencies=[Depends(require_operator)])


@router.get("/cluster", summary="Show the cluster status", responses=problem_responses(401, 503))
async def show_cluster(resources: AppResources, db: Db) -> Cluster:
    """Idlers, owners of shards, and the number of watched users, as `superimap cluster` shows them."""
    seen = await statuses.read_cluster_status(db, expiry=resources.settings.heartbeat_expiry)
    return Cluster.model_validate(seen.as_dict())
