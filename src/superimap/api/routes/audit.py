"""Audit log of the calling partner: /api/v1/audit_log."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from superimap.api.dependencies import CallingPartner, Db, base_url, needs
from superimap.api.openapi import KEY_PROBLEMS, problem_responses
from superimap.api.paging import NEXT_PAGE, link_next
from superimap.api.router import Router
from superimap.api.schemas.audit import AuditEntryOut
from superimap.api.schemas.deliveries import Moment
from superimap.db import audit
from superimap.db.audit import AuditFilter
from superimap.db.models import AuditEntry
from superimap.domain.api_keys import Scope
from superimap.domain.audit import ActorKind, AuditAction

router = Router(prefix="/api/v1/audit_log", tags=["audit log"])


@router.get(
    "",
    summary="List changes",
    dependencies=[needs(Scope.READ)],
    responses={
        200: {"description": "OK", "headers": NEXT_PAGE},
        **problem_responses(*KEY_PROBLEMS, 422, 503),
    },
)
async def list_audit_log(
    *,
    request: Request,
    response: Response,
    partner: CallingPartner,
    db: Db,
    base: Annotated[str, Depends(base_url)],
    action: Annotated[AuditAction | None, Query(description="Only changes of this kind.")] = None,
    actor_kind: Annotated[ActorKind | None, Query(description="Only changes by actors of this kind.")] = None,
    since: Annotated[Moment | None, Query(description="Only changes at this time or later.")] = None,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="Only changes before the entry with this id.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=audit.MAX_ENTRIES, description="Entries per page.")] = 100,
) -> list[AuditEntryOut]:
    """List the changes of your data, latest first: by your API keys, by people with links, and by operators."""
    which = AuditFilter(partner.id, actor_kind, action, since, before)
    found = await audit.list_entries(db, which, limit=limit + 1)
    page = found[:limit]
    if len(page) < len(found):
        link_next(request, response, base, "before", page[-1].id)
    return [_shown(entry) for entry in page]


def _shown(entry: AuditEntry) -> AuditEntryOut:
    shown = AuditEntryOut.model_validate(entry)
    if entry.actor_kind not in _HIDDEN_ACTORS:
        return shown
    details = {name: value for name, value in shown.details.items() if name not in _OF_ACTORS}
    return shown.model_copy(update={"actor": None, "details": details})


_HIDDEN_ACTORS = {ActorKind.OPERATOR, ActorKind.SYSTEM, ActorKind.PORTAL}
# Who operates the installation, how and from where, is not the partner's business.
_OF_ACTORS = {"address", "role", "token"}
