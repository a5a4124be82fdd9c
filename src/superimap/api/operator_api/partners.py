"""Partners, their quotas and connections, for operators: /api/v1/operator/partners."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Response

from superimap.api.dependencies import AppResources, base_url
from superimap.api.openapi import problem_responses, request_body
from superimap.api.operator_api.caller import ACTS, DELETES, OPERATOR_PROBLEMS, READS, Caller, OperatorDb
from superimap.api.paging import NEXT_PAGE, link_next
from superimap.api.request_body import read_body
from superimap.api.resources import Resources
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.operator_partners import (
    NewPartnerOut,
    NewPartnerRequest,
    PartnerChange,
    PartnerInList,
    PartnerOut,
    QuotaChange,
    QuotaOut,
)
from superimap.db.accounts import partners, quotas
from superimap.db.accounts.validation.partners import WEBHOOK_FIELDS
from superimap.db.errors import NotFound
from superimap.db.models import Partner
from superimap.db.monitoring import partner_lists
from superimap.domain.operators import OperatorRole
from superimap.webhooks.urls import shown_url

router = Router(prefix="/api/v1/operator/partners", tags=["operator: partners"])

PartnerId = Annotated[int, Path(ge=1, lt=2**63)]
PROBLEMS = (*OPERATOR_PROBLEMS, 404, 422)
MAX_DELETED_USERS = partner_lists.MAX_COUNT


@router.get(
    "",
    dependencies=[READS],
    summary="List partners",
    responses={
        200: {"description": "OK", "headers": NEXT_PAGE},
        **problem_responses(*OPERATOR_PROBLEMS, 422),
    },
)
async def list_partners(
    *,
    request: Request,
    response: Response,
    db: OperatorDb,
    base: Annotated[str, Depends(base_url)],
    name: Annotated[
        str, Query(max_length=200, pattern=r"^[^\x00]*$", description="Only names that begin like this.")
    ] = "",
    after: Annotated[
        int | None, Query(ge=1, lt=2**63, description="Only partners that follow the one with this id.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Partners per page.")] = 100,
) -> list[PartnerInList]:
    """List partners by name."""
    found = await partner_lists.list_partners(db, prefix=name, after=after, limit=limit + 1)
    page = found[:limit]
    if len(page) < len(found):
        link_next(request, response, base, "after", page[-1].id)
    return [PartnerInList.model_validate(each) for each in page]


@router.post(
    "",
    status_code=201,
    dependencies=[ACTS],
    summary="Create a partner",
    openapi_extra=request_body(NewPartnerRequest),
    responses=problem_responses(*OPERATOR_PROBLEMS, 409, *BODY_PROBLEMS),
)
async def create_partner(
    body: Annotated[NewPartnerRequest, Depends(read_body(NewPartnerRequest))],
    db: OperatorDb,
    resources: AppResources,
) -> NewPartnerOut:
    """Create a partner. Its first API key and signing secret are shown only in this response."""
    created = await partners.create(db, resources.vault, https_only=is_https_only(resources), **body.fields())
    described = await partners.describe(db, created.partner)
    return NewPartnerOut(**described, api_key=created.api_key, signing_secret=created.signing_secret)


@router.get(
    "/{partner_id}", dependencies=[READS], summary="Show a partner", responses=problem_responses(*PROBLEMS)
)
async def show_partner(partner_id: PartnerId, caller: Caller, db: OperatorDb) -> PartnerOut:
    """Show a partner with its URLs."""
    shown: dict[str, Any] = await partners.describe(db, await get_partner(db, partner_id))
    is_whole = caller.allows(OperatorRole.OPERATOR)
    return PartnerOut(**shown | {name: shown_url(shown[name], is_whole=is_whole) for name in WEBHOOK_FIELDS})


@router.patch(
    "/{partner_id}",
    dependencies=[ACTS],
    summary="Update a partner",
    openapi_extra=request_body(PartnerChange),
    responses=problem_responses(*OPERATOR_PROBLEMS, 404, 409, *BODY_PROBLEMS),
)
async def update_partner(
    partner_id: PartnerId,
    body: Annotated[PartnerChange, Depends(read_body(PartnerChange))],
    db: OperatorDb,
    resources: AppResources,
) -> PartnerOut:
    """Change the name or URLs of a partner."""
    changed = await partners.update(db, partner_id, https_only=is_https_only(resources), **body.fields())
    return PartnerOut(**await partners.describe(db, changed))


@router.delete(
    "/{partner_id}",
    status_code=204,
    dependencies=[DELETES],
    summary="Delete a partner",
    responses=problem_responses(*PROBLEMS, 409),
)
async def delete_partner(partner_id: PartnerId, db: OperatorDb) -> None:
    """Delete a partner with everything of it. One with more than 1,000 users is deleted by the command line."""
    if not await partners.delete(db, partner_id, most_users=MAX_DELETED_USERS):
        raise _not_found()


@router.get(
    "/{partner_id}/quotas",
    dependencies=[READS],
    summary="List quotas",
    responses=problem_responses(*PROBLEMS),
)
async def list_quotas(partner_id: PartnerId, db: OperatorDb) -> list[QuotaOut]:
    """List the quotas of a partner, with what is used of them."""
    await get_partner(db, partner_id)
    return await _quotas(db, partner_id)


@router.patch(
    "/{partner_id}/quotas",
    dependencies=[ACTS],
    summary="Update quotas",
    openapi_extra=request_body(QuotaChange),
    responses=problem_responses(*OPERATOR_PROBLEMS, 404, *BODY_PROBLEMS),
)
async def update_quotas(
    partner_id: PartnerId, body: Annotated[QuotaChange, Depends(read_body(QuotaChange))], db: OperatorDb
) -> list[QuotaOut]:
    """Set quotas of a partner, or return them to the settings."""
    await get_partner(db, partner_id)
    await quotas.set_maximums(db, partner_id, body.changes())
    return await _quotas(db, partner_id)


async def get_partner(db: OperatorDb, partner_id: int) -> Partner:
    """Return the partner with this id. Raises NotFound."""
    partner = await partners.by_id(db, partner_id)
    if partner is None:
        raise _not_found()
    return partner


def is_https_only(resources: Resources) -> bool:
    """Whether plain HTTP URLs are refused, as they are in production."""
    return resources.settings.environment == "production"


def _not_found() -> NotFound:
    return NotFound("Partner not found.")


async def _quotas(db: OperatorDb, partner_id: int) -> list[QuotaOut]:
    return [QuotaOut(**each._asdict()) for each in await partner_lists.list_quota_uses(db, partner_id)]
