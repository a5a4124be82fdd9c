"""Endpoints, test webhooks and signing secrets of the calling partner: /api/v1/webhooks."""

from datetime import timedelta
from typing import Annotated

from fastapi import BackgroundTasks, Depends

from superimap.api.dependencies import AppResources, CallingPartner, Db, needs
from superimap.api.errors import Problem
from superimap.api.openapi import KEY_PROBLEMS, problem_responses, request_body
from superimap.api.request_body import read_body
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.webhooks import (
    EndpointOut,
    NewSecret,
    RotateRequest,
    SecretOut,
    TestOut,
    TestRequest,
)
from superimap.db.accounts import allowances, partner_keys, webhook_endpoints
from superimap.db.accounts.allowances import Action
from superimap.dispatcher import sample_webhooks
from superimap.domain.api_keys import Scope
from superimap.domain.events import EventKind

router = Router(prefix="/api/v1/webhooks", tags=["webhooks"])


@router.get(
    "",
    dependencies=[needs(Scope.READ)],
    summary="List endpoints",
    responses=problem_responses(*KEY_PROBLEMS, 503),
)
async def list_endpoints(partner: CallingPartner, db: Db) -> list[EndpointOut]:
    """List the endpoint of each kind of webhook, with its health."""
    return [
        EndpointOut.model_validate(found) for found in await webhook_endpoints.list_endpoints(db, partner.id)
    ]


@router.post(
    "/{kind}/enable",
    dependencies=[needs(Scope.WRITE)],
    summary="Enable an endpoint",
    responses=problem_responses(*KEY_PROBLEMS, 404, 503),
)
async def enable_endpoint(
    kind: str, partner: CallingPartner, db: Db, resources: AppResources, background: BackgroundTasks
) -> EndpointOut:
    """Enable a disabled endpoint and close its circuit breaker. Pending webhooks are then sent at once."""
    if kind not in set(EventKind):
        raise Problem(404, f"Unknown kind of webhook. The kinds are {', '.join(EventKind)}.")
    enabled = await webhook_endpoints.enable(db, partner.id, EventKind(kind))
    background.add_task(resources.ring, enabled.id)
    return EndpointOut.model_validate(enabled)


@router.post(
    "/test",
    dependencies=[needs(Scope.REPLAY)],
    summary="Send a test webhook",
    openapi_extra=request_body(TestRequest),
    responses=problem_responses(*KEY_PROBLEMS, 404, *BODY_PROBLEMS, 429, 503),
)
async def test_endpoint(
    partner: CallingPartner,
    body: Annotated[TestRequest, Depends(read_body(TestRequest))],
    db: Db,
    resources: AppResources,
) -> TestOut:
    """Send a signed sample to the endpoint of a kind, and show its response. At most ten a minute.

    The sample is marked with `"test": true`. It has no consequences: no retry, no archiving by a 403.
    """
    endpoint = await webhook_endpoints.get_endpoint(db, partner.id, body.kind)
    url = str(endpoint.url)
    await allowances.use(db, partner.id, Action.TEST)
    await webhook_endpoints.record_test(db, partner.id, body.kind)
    keys = await partner_keys.signing_keys(db, resources.vault, partner.id)
    await db.commit()  # counts even if the POST fails, and frees the connection while the endpoint answers
    webhook_id, answer = await sample_webhooks.send_sample(resources.settings, keys, body.kind, url)
    return TestOut(
        id=webhook_id,
        url=url,
        is_success=answer.is_success,
        code=answer.status,
        error=answer.error,
        milliseconds=answer.milliseconds,
        answer=sample_webhooks.shown_answer(answer),
    )


@router.get(
    "/secret",
    dependencies=[needs(Scope.KEYS)],
    summary="List signing secrets",
    responses=problem_responses(*KEY_PROBLEMS, 503),
)
async def list_secrets(partner: CallingPartner, db: Db) -> list[SecretOut]:
    """List the validity periods of your signing secrets, newest first, without their values."""
    return [SecretOut.of(each) for each in await partner_keys.list_signing_secrets(db, partner.id)]


@router.post(
    "/secret/rotate",
    status_code=201,
    dependencies=[needs(Scope.KEYS)],
    summary="Rotate the signing secret",
    openapi_extra=request_body(RotateRequest),
    responses=problem_responses(*KEY_PROBLEMS, 409, *BODY_PROBLEMS, 503),
)
async def rotate_secret(
    partner: CallingPartner,
    body: Annotated[RotateRequest, Depends(read_body(RotateRequest))],
    db: Db,
    resources: AppResources,
) -> NewSecret:
    """Create a signing secret, shown only in this response. The previous ones stay valid for `overlap_hours`."""
    overlap = timedelta(hours=body.overlap_hours)
    secret = await partner_keys.rotate_signing_secret(db, resources.vault, partner.id, overlap=overlap)
    return NewSecret(signing_secret=secret)
