"""State of the installation, for operators: /api/v1/operator/cluster, /problems and /tracers."""

from typing import Annotated

from fastapi import Query

from superimap.api.dependencies import AppResources
from superimap.api.openapi import problem_responses
from superimap.api.operator_api.caller import OPERATOR_PROBLEMS, READS, OperatorDb
from superimap.api.router import Router
from superimap.api.schemas.operator_status import CauseOut, ClusterState, Situation
from superimap.api.schemas.operator_tracers import ProviderTracersOut, TracersState
from superimap.db.monitoring import problems, statuses, tracers

router = Router(prefix="/api/v1/operator", tags=["operator: status"], dependencies=[READS])


@router.get("/cluster", summary="Show the cluster", responses=problem_responses(*OPERATOR_PROBLEMS, 422))
async def show_cluster_state(
    resources: AppResources,
    db: OperatorDb,
    count_watched: Annotated[
        bool, Query(description="Also count the users with a session, which reads all users.")
    ] = False,
) -> ClusterState:
    """Show idlers, owners of shards, and the number of watched users, as `superimap cluster` does."""
    expiry = resources.settings.heartbeat_expiry
    seen = await statuses.read_cluster_status(db, expiry=expiry, count_watched=count_watched)
    shown = seen.as_dict()
    if not count_watched:
        shown["users"]["watched"] = None
    return ClusterState.model_validate(shown)


@router.get("/problems", summary="List problems", responses=problem_responses(*OPERATOR_PROBLEMS))
async def list_problems(resources: AppResources, db: OperatorDb) -> Situation:
    """Say in one sentence whether a mailbox is not watched or a webhook late, and list the causes."""
    found = await problems.overview(db, expiry=resources.settings.heartbeat_expiry)
    causes = [CauseOut.of(each) for each in found.causes]
    return Situation(headline=found.headline, is_grave=found.is_grave, causes=causes)


@router.get("/tracers", summary="Show the tracers", responses=problem_responses(*OPERATOR_PROBLEMS))
async def show_tracers(db: OperatorDb) -> TracersState:
    """Show whether mail arrives at each provider, and how much of the objective's error budget is left."""
    days = await tracers.read_days(db)
    rows = await tracers.list_providers(db)
    return TracersState.of(days.total, [ProviderTracersOut.of(row) for row in rows])
