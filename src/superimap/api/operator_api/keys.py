"""API keys and signing secrets of partners, for operators: /api/v1/operator/partners/{partner_id}/api_keys."""

from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Path

from superimap.api.dependencies import AppResources, ForgetsKeys
from superimap.api.openapi import problem_responses, request_body
from superimap.api.operator_api.caller import OPERATOR_PROBLEMS, OWNS, READS, OperatorDb
from superimap.api.operator_api.partners import PROBLEMS, PartnerId, get_partner
from superimap.api.request_body import read_body
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.api_keys import ApiKeyChange, ApiKeyOut, NewApiKeyOut
from superimap.api.schemas.operator_partners import NewPartnerKey
from superimap.api.schemas.webhooks import NewSecret, RotateRequest, SecretOut
from superimap.db.accounts import api_keys, partner_keys
from superimap.db.accounts.api_keys import NewApiKey
from superimap.db.models import ApiKey

router = Router(
    prefix="/api/v1/operator/partners/{partner_id}", tags=["operator: keys"], dependencies=[ForgetsKeys]
)

KeyId = Annotated[int, Path(ge=1, lt=2**63)]
CHANGES = (*OPERATOR_PROBLEMS, 404, *BODY_PROBLEMS)


@router.get(
    "/api_keys",
    dependencies=[READS],
    summary="List API keys of a partner",
    responses=problem_responses(*PROBLEMS),
)
async def list_partner_keys(partner_id: PartnerId, db: OperatorDb) -> list[ApiKeyOut]:
    """List the API keys of a partner, oldest first, without their secrets; expired ones too."""
    await get_partner(db, partner_id)
    signing = await api_keys.signing_key_id(db, partner_id)
    return [ApiKeyOut.of(key, signing) for key in await api_keys.list_keys(db, partner_id)]


@router.post(
    "/api_keys",
    status_code=201,
    dependencies=[OWNS],
    summary="Create an API key of a partner",
    openapi_extra=request_body(NewPartnerKey),
    responses=problem_responses(*CHANGES, 409),
)
async def create_partner_key(
    partner_id: PartnerId,
    body: Annotated[NewPartnerKey, Depends(read_body(NewPartnerKey))],
    db: OperatorDb,
    resources: AppResources,
) -> NewApiKeyOut:
    """Create an API key, shown only in this response. It does not sign webhook bodies."""
    return await _shown_once(db, await api_keys.create(db, resources.vault, partner_id, body.fields()))


@router.post(
    "/api_keys/rotate",
    status_code=201,
    dependencies=[OWNS],
    summary="Rotate the signing API key of a partner",
    openapi_extra=request_body(RotateRequest),
    responses=problem_responses(*CHANGES),
)
async def rotate_partner_key(
    partner_id: PartnerId,
    body: Annotated[RotateRequest, Depends(read_body(RotateRequest))],
    db: OperatorDb,
    resources: AppResources,
) -> NewApiKeyOut:
    """Replace the key that signs webhook bodies; the new one is shown only in this response."""
    overlap = timedelta(hours=body.overlap_hours)
    return await _shown_once(db, await api_keys.rotate(db, resources.vault, partner_id, overlap=overlap))


@router.patch(
    "/api_keys/{id:int}",
    dependencies=[OWNS],
    summary="Update an API key of a partner",
    openapi_extra=request_body(ApiKeyChange),
    responses=problem_responses(*CHANGES),
)
async def update_partner_key(
    partner_id: PartnerId,
    id: KeyId,
    body: Annotated[ApiKeyChange, Depends(read_body(ApiKeyChange))],
    db: OperatorDb,
) -> ApiKeyOut:
    """Change name, scopes or networks of an API key."""
    return await _shown(db, await api_keys.update(db, partner_id, id, body.fields()))


@router.delete(
    "/api_keys/{id:int}",
    status_code=204,
    dependencies=[OWNS],
    summary="Retire an API key of a partner",
    responses=problem_responses(*PROBLEMS, 409),
)
async def retire_partner_key(partner_id: PartnerId, id: KeyId, db: OperatorDb) -> None:
    """End the validity of a key now. The last valid key cannot be retired, nor the last that signs."""
    await api_keys.retire(db, partner_id, id)


@router.post(
    "/api_keys/{id:int}/sign",
    dependencies=[OWNS],
    summary="Sign webhook bodies with an API key of a partner",
    responses=problem_responses(*PROBLEMS, 409),
)
async def sign_with_partner_key(partner_id: PartnerId, id: KeyId, db: OperatorDb) -> ApiKeyOut:
    """Have this key make `signature` in webhook bodies from now on."""
    return await _shown(db, await api_keys.mark_for_signing(db, partner_id, id))


@router.get(
    "/signing_secrets",
    dependencies=[READS],
    summary="List signing secrets of a partner",
    responses=problem_responses(*PROBLEMS),
)
async def list_partner_secrets(partner_id: PartnerId, db: OperatorDb) -> list[SecretOut]:
    """List the validity periods of the signing secrets, newest first, without their values."""
    await get_partner(db, partner_id)
    return [SecretOut.of(each) for each in await partner_keys.list_signing_secrets(db, partner_id)]


@router.post(
    "/signing_secrets/rotate",
    status_code=201,
    dependencies=[OWNS],
    summary="Rotate the signing secret of a partner",
    openapi_extra=request_body(RotateRequest),
    responses=problem_responses(*CHANGES, 409),
)
async def rotate_partner_secret(
    partner_id: PartnerId,
    body: Annotated[RotateRequest, Depends(read_body(RotateRequest))],
    db: OperatorDb,
    resources: AppResources,
) -> NewSecret:
    """Create a signing secret, shown only in this response. The previous ones stay valid for `overlap_hours`."""
    overlap = timedelta(hours=body.overlap_hours)
    secret = await partner_keys.rotate_signing_secret(db, resources.vault, partner_id, overlap=overlap)
    return NewSecret(signing_secret=secret)


async def _shown(db: OperatorDb, key: ApiKey) -> ApiKeyOut:
    return ApiKeyOut.of(key, await api_keys.signing_key_id(db, key.partner_id))


async def _shown_once(db: OperatorDb, created: NewApiKey) -> NewApiKeyOut:
    return NewApiKeyOut(**(await _shown(db, created.key)).model_dump(), api_key=created.secret)
