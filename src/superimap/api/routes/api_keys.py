"""API keys of the calling partner: /api/v1/api_keys."""

from typing import Annotated

from fastapi import Depends, Path

from superimap.api.dependencies import AppResources, CallingKey, Db, ForgetsKeys, needs
from superimap.api.openapi import KEY_PROBLEMS, problem_responses, request_body
from superimap.api.request_body import read_body
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.api_keys import ApiKeyChange, ApiKeyOut, NewApiKeyOut, NewApiKeyRequest
from superimap.db.accounts import api_keys
from superimap.db.models import ApiKey
from superimap.domain.api_keys import Scope

router = Router(prefix="/api/v1/api_keys", tags=["api keys"], dependencies=[ForgetsKeys, needs(Scope.KEYS)])

KeyId = Annotated[int, Path(ge=1, lt=2**63)]


@router.get("", summary="List API keys", responses=problem_responses(*KEY_PROBLEMS, 503))
async def list_api_keys(caller: CallingKey, db: Db) -> list[ApiKeyOut]:
    """List your API keys, oldest first, without their secrets; expired ones too."""
    signing = await api_keys.signing_key_id(db, caller.partner.id)
    return [ApiKeyOut.of(key, signing) for key in await api_keys.list_keys(db, caller.partner.id)]


@router.post(
    "",
    status_code=201,
    summary="Create an API key",
    openapi_extra=request_body(NewApiKeyRequest),
    responses=problem_responses(*KEY_PROBLEMS, 409, *BODY_PROBLEMS, 503),
)
async def create_api_key(
    caller: CallingKey,
    body: Annotated[NewApiKeyRequest, Depends(read_body(NewApiKeyRequest))],
    db: Db,
    resources: AppResources,
) -> NewApiKeyOut:
    """Create an API key, shown only in this response. It can have no more rights than the key that you send."""
    rights = caller.rights
    created = await api_keys.create(db, resources.vault, caller.partner.id, body.fields(), by=rights)
    return NewApiKeyOut(**ApiKeyOut.of(created.key, None).model_dump(), api_key=created.secret)


@router.get("/{id}", summary="Show an API key", responses=problem_responses(*KEY_PROBLEMS, 404, 422, 503))
async def show_api_key(id: KeyId, caller: CallingKey, db: Db) -> ApiKeyOut:
    """Show an API key, without its secret."""
    return await _show(db, caller, await api_keys.get(db, caller.partner.id, id))


@router.patch(
    "/{id}",
    summary="Update an API key",
    openapi_extra=request_body(ApiKeyChange),
    responses=problem_responses(*KEY_PROBLEMS, 404, *BODY_PROBLEMS, 503),
)
async def update_api_key(
    id: KeyId,
    caller: CallingKey,
    body: Annotated[ApiKeyChange, Depends(read_body(ApiKeyChange))],
    db: Db,
) -> ApiKeyOut:
    """Change name, scopes or networks. The new rights apply to all requests after a second."""
    rights = caller.rights
    return await _show(db, caller, await api_keys.update(db, caller.partner.id, id, body.fields(), by=rights))


@router.delete(
    "/{id}",
    status_code=204,
    summary="Retire an API key",
    responses=problem_responses(*KEY_PROBLEMS, 404, 409, 422, 503),
)
async def retire_api_key(id: KeyId, caller: CallingKey, db: Db) -> None:
    """End the validity of a key within a second. The last valid key cannot be retired, nor the last that signs."""
    await api_keys.retire(db, caller.partner.id, id, by=caller.rights)


@router.post(
    "/{id}/sign",
    summary="Sign webhook bodies with an API key",
    responses=problem_responses(*KEY_PROBLEMS, 404, 409, 422, 503),
)
async def sign_with_api_key(id: KeyId, caller: CallingKey, db: Db) -> ApiKeyOut:
    """Have this key make `signature` in webhook bodies from now on. `signatures` contains the previous one too."""
    rights = caller.rights
    return await _show(db, caller, await api_keys.mark_for_signing(db, caller.partner.id, id, by=rights))


async def _show(db: Db, caller: CallingKey, key: ApiKey) -> ApiKeyOut:
    return ApiKeyOut.of(key, await api_keys.signing_key_id(db, caller.partner.id))
