"""Connections of partners, for operators: /api/v1/operator/partners/{partner_id}/connections."""

from typing import Annotated

from fastapi import BackgroundTasks, Path

from superimap.api.dependencies import AppResources
from superimap.api.openapi import problem_responses
from superimap.api.operator_api.caller import DELETES, READS, OperatorDb
from superimap.api.operator_api.jobs import wake
from superimap.api.operator_api.partners import PROBLEMS, PartnerId, get_partner
from superimap.api.router import Router
from superimap.api.schemas.operator_jobs import JobOut
from superimap.api.schemas.operator_partners import PartnerConnection
from superimap.db.accounts import archiving
from superimap.db.monitoring import partner_lists

router = Router(prefix="/api/v1/operator/partners/{partner_id}/connections", tags=["operator: partners"])

ConnectionId = Annotated[int, Path(ge=1, lt=2**63)]


@router.get(
    "",
    dependencies=[READS],
    summary="List the connections of a partner",
    responses=problem_responses(*PROBLEMS),
)
async def list_partner_connections(partner_id: PartnerId, db: OperatorDb) -> list[PartnerConnection]:
    """List the connections of a partner by the code of the provider."""
    await get_partner(db, partner_id)
    return [
        PartnerConnection(
            id=each.connection.id,
            imap_provider_code=each.provider.code,
            users=each.users,
            has_client_secret=each.has_client_secret,
        )
        for each in await partner_lists.list_connections(db, partner_id)
    ]


@router.post(
    "/{connection_id}/archive",
    status_code=201,
    dependencies=[DELETES],
    summary="Archive the users of a connection",
    responses=problem_responses(*PROBLEMS, 409),
)
async def archive_connection_users(
    partner_id: PartnerId,
    connection_id: ConnectionId,
    db: OperatorDb,
    resources: AppResources,
    background: BackgroundTasks,
) -> JobOut:
    """Start a job that archives all users of a connection. Each can be restored."""
    started = await archiving.start(db, await archiving.plan(db, partner_id, connection_id))
    background.add_task(wake, resources)
    return JobOut.model_validate(started)
