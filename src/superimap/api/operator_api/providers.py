"""Providers, for operators: /api/v1/operator/providers."""

from typing import Annotated

from fastapi import Depends

from superimap.api.openapi import problem_responses, request_body
from superimap.api.operator_api.caller import OPERATOR_PROBLEMS, OWNS, READS, OperatorDb
from superimap.api.request_body import read_body
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.operator_providers import NewProvider, ProviderOut, ProviderUpdate
from superimap.db.accounts import providers
from superimap.db.errors import NotFound

router = Router(prefix="/api/v1/operator/providers", tags=["operator: providers"])


@router.get(
    "", dependencies=[READS], summary="List providers", responses=problem_responses(*OPERATOR_PROBLEMS)
)
async def list_providers(db: OperatorDb) -> list[ProviderOut]:
    """List all providers by code."""
    return [ProviderOut.model_validate(each) for each in await providers.list_all(db)]


@router.post(
    "",
    status_code=201,
    dependencies=[OWNS],
    summary="Create a provider",
    openapi_extra=request_body(NewProvider),
    responses=problem_responses(*OPERATOR_PROBLEMS, 409, *BODY_PROBLEMS),
)
async def create_provider(
    body: Annotated[NewProvider, Depends(read_body(NewProvider))], db: OperatorDb
) -> ProviderOut:
    """Create a provider."""
    return ProviderOut.model_validate(await providers.create(db, **body.fields()))


@router.get(
    "/{code}",
    dependencies=[READS],
    summary="Show a provider",
    responses=problem_responses(*OPERATOR_PROBLEMS, 404),
)
async def show_provider(code: str, db: OperatorDb) -> ProviderOut:
    """Show the settings of a provider; letter case of the code is ignored."""
    found = await providers.by_code(db, code) if code.isprintable() else None
    if found is None:
        raise _not_found()
    return ProviderOut.model_validate(found)


@router.patch(
    "/{code}",
    dependencies=[OWNS],
    summary="Update a provider",
    openapi_extra=request_body(ProviderUpdate),
    responses=problem_responses(*OPERATOR_PROBLEMS, 404, 409, *BODY_PROBLEMS),
)
async def update_provider(
    code: str, body: Annotated[ProviderUpdate, Depends(read_body(ProviderUpdate))], db: OperatorDb
) -> ProviderOut:
    """Change settings of a provider. Where stored secrets would go elsewhere, `stored_secrets` decides."""
    if not code.isprintable():
        raise _not_found()
    changed = await providers.update(db, code, stored_secrets=body.stored_secrets, **body.fields())
    return ProviderOut.model_validate(changed)


@router.delete(
    "/{code}",
    status_code=204,
    dependencies=[OWNS],
    summary="Delete a provider",
    responses=problem_responses(*OPERATOR_PROBLEMS, 404, 409),
)
async def delete_provider(code: str, db: OperatorDb) -> None:
    """Delete a provider that no partner uses. A preset comes back with the next `superimap migrate`."""
    if not code.isprintable():
        raise _not_found()
    await providers.delete(db, code)


def _not_found() -> NotFound:
    return NotFound("Provider not found.")
