"""Operators, the token of the caller, and the audit log: /api/v1/operator/operators, /token, /audit_log."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response

from superimap.api.dependencies import base_url
from superimap.api.openapi import problem_responses, request_body
from superimap.api.operator_api.caller import OPERATOR_PROBLEMS, OWNS, READS, Caller, OperatorDb
from superimap.api.paging import NEXT_PAGE, link_next
from superimap.api.request_body import read_body
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.deliveries import Moment
from superimap.api.schemas.operator_people import (
    OperatorChange,
    OperatorOut,
    OperatorTokenOut,
    RecordedChange,
)
from superimap.db import audit
from superimap.db.audit import AuditFilter
from superimap.db.operators import accounts
from superimap.domain.audit import ActorKind, AuditAction

router = Router(prefix="/api/v1/operator", tags=["operator: people"])

OperatorId = Annotated[int, Path(ge=1, lt=2**63)]


@router.get(
    "/token", dependencies=[READS], summary="Show your token", responses=problem_responses(*OPERATOR_PROBLEMS)
)
async def show_operator_token(caller: Caller) -> OperatorTokenOut:
    """Show the token that you send: for whom it acts, its role and its end."""
    names = ("name", "hint", "role", "is_confirmed", "expires_at")
    values = {name: getattr(caller.token, name) for name in names}
    return OperatorTokenOut(operator=caller.operator.email, **values)


@router.get(
    "/operators",
    dependencies=[READS],
    summary="List operators",
    responses=problem_responses(*OPERATOR_PROBLEMS),
)
async def list_operators(db: OperatorDb) -> list[OperatorOut]:
    """List the operators by address."""
    return [OperatorOut.model_validate(each) for each in await accounts.list_all(db)]


@router.patch(
    "/operators/{id}",
    dependencies=[OWNS],
    summary="Update an operator",
    openapi_extra=request_body(OperatorChange),
    responses=problem_responses(*OPERATOR_PROBLEMS, 404, 409, *BODY_PROBLEMS),
)
async def update_operator(
    id: OperatorId, body: Annotated[OperatorChange, Depends(read_body(OperatorChange))], db: OperatorDb
) -> OperatorOut:
    """Change the role of an operator, or disable or enable one. The last owner stays."""
    found = await accounts.get(db, id, lock=True)
    await accounts.change(db, found, role=body.role, disabled=body.is_disabled)
    return OperatorOut.model_validate(found)


@router.get(
    "/audit_log",
    dependencies=[READS],
    summary="List all changes",
    responses={
        200: {"description": "OK", "headers": NEXT_PAGE},
        **problem_responses(*OPERATOR_PROBLEMS, 422),
    },
)
async def list_recorded_changes(
    *,
    request: Request,
    response: Response,
    db: OperatorDb,
    base: Annotated[str, Depends(base_url)],
    partner_id: Annotated[
        int | None, Query(ge=1, lt=2**63, description="Only changes of this partner.")
    ] = None,
    action: Annotated[AuditAction | None, Query(description="Only changes of this kind.")] = None,
    actor_kind: Annotated[ActorKind | None, Query(description="Only changes by actors of this kind.")] = None,
    since: Annotated[Moment | None, Query(description="Only changes at this time or later.")] = None,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="Only changes before the entry with this id.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=audit.MAX_ENTRIES, description="Entries per page.")] = 100,
) -> list[RecordedChange]:
    """List the changes of all partners and operators, latest first."""
    which = AuditFilter(partner_id, actor_kind, action, since, before)
    found = await audit.list_entries(db, which, limit=limit + 1)
    page = found[:limit]
    if len(page) < len(found):
        link_next(request, response, base, "before", page[-1].id)
    return [RecordedChange.model_validate(each) for each in page]
