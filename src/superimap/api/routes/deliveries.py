"""Deliveries of the calling partner, their replay and cancellation: /api/v1/deliveries."""

from datetime import datetime
from typing import Annotated, NamedTuple

from fastapi import BackgroundTasks, Depends, Query, Request, Response

from superimap.api.dependencies import AppResources, CallingPartner, Db, base_url, needs
from superimap.api.errors import invalid_fields
from superimap.api.openapi import KEY_PROBLEMS, problem_responses, request_body
from superimap.api.paging import NEXT_PAGE, link_next
from superimap.api.request_body import read_body
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.deliveries import (
    CancelOut,
    CancelRequest,
    DeliveryDetail,
    DeliveryOut,
    Moment,
    ReplayOut,
    ReplayRequest,
)
from superimap.db.accounts import allowances
from superimap.db.accounts.allowances import Action
from superimap.db.delivery import replay
from superimap.db.monitoring import history
from superimap.db.monitoring.history import DeliveryFilter
from superimap.db.monitoring.selections import select_deliveries
from superimap.domain.api_keys import Scope
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind
from superimap.webhooks.signing import delivery_of

router = Router(prefix="/api/v1/deliveries", tags=["deliveries"])


@router.get(
    "",
    dependencies=[needs(Scope.READ)],
    summary="List deliveries",
    responses={
        200: {"description": "OK", "headers": NEXT_PAGE},
        **problem_responses(*KEY_PROBLEMS, 404, 422, 503),
    },
)
async def list_deliveries(
    *,
    request: Request,
    response: Response,
    partner: CallingPartner,
    db: Db,
    resources: AppResources,
    base: Annotated[str, Depends(base_url)],
    state: Annotated[DeliveryState | None, Query(description="Only webhooks in this state.")] = None,
    kind: Annotated[EventKind | None, Query(description="Only webhooks of this kind.")] = None,
    user_tag: Annotated[str | None, Query(description="Only webhooks about the user with this tag.")] = None,
    imap_provider_code: Annotated[
        str | None, Query(description="Only webhooks about users of this connection.")
    ] = None,
    since: Annotated[Moment | None, Query(description="Only webhooks created at this time or later.")] = None,
    until: Annotated[Moment | None, Query(description="Only webhooks created before this time.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Deliveries per page.")] = 100,
    after: Annotated[
        str | None, Query(description="Cursor from the header Link of the previous page.")
    ] = None,
) -> list[DeliveryOut]:
    """List your webhooks, latest first: pending, delivered and failed ones (dead letters)."""
    last = delivery_of(after) if after is not None else None
    if after is not None and last is None:
        raise invalid_fields(
            [("after", "must be copied unchanged from the header Link of the previous page")]
        )
    selection = _QuerySelection(user_tag, imap_provider_code, kind, since, until)
    matching = await _filter_for(db, partner.id, state, selection)
    found = await resources.read_replica.read(
        db, lambda source: history.list_deliveries(source, matching, after=last, limit=limit + 1)
    )
    page = found[:limit]
    if len(page) < len(found):
        link_next(request, response, base, "after", page[-1].id)
    return [DeliveryOut.model_validate(listed) for listed in page]


@router.post(
    "/replay",
    dependencies=[needs(Scope.REPLAY)],
    summary="Replay failed deliveries",
    openapi_extra=request_body(ReplayRequest),
    responses=problem_responses(*KEY_PROBLEMS, 404, *BODY_PROBLEMS, 429, 503),
)
async def replay_deliveries(
    *,
    partner: CallingPartner,
    body: Annotated[ReplayRequest, Depends(read_body(ReplayRequest))],
    db: Db,
    resources: AppResources,
    background: BackgroundTasks,
) -> ReplayOut:
    """Send failed or cancelled webhooks again, as long as their content is kept. At most 1,000 a minute."""
    matching = await _filter_for(db, partner.id, DeliveryState(body.state), body)
    granted = await allowances.use(db, partner.id, Action.REPLAY, body.limit)
    done = await replay.replay(db, matching, limit=granted)
    await allowances.refund(db, partner.id, Action.REPLAY, granted - done.count)
    for endpoint_id in done.endpoints:
        background.add_task(resources.ring, endpoint_id)
    return ReplayOut(replayed=done.count, remaining=done.remaining, erased=done.erased, blocked=done.blocked)


@router.post(
    "/cancel",
    dependencies=[needs(Scope.WRITE)],
    summary="Cancel pending deliveries",
    openapi_extra=request_body(CancelRequest),
    responses=problem_responses(*KEY_PROBLEMS, 404, *BODY_PROBLEMS, 503),
)
async def cancel_deliveries(
    partner: CallingPartner, body: Annotated[CancelRequest, Depends(read_body(CancelRequest))], db: Db
) -> CancelOut:
    """Cancel pending webhooks. They can be replayed while their content is kept."""
    matching = await _filter_for(db, partner.id, DeliveryState.PENDING, body)
    done = await replay.cancel(db, matching, limit=body.limit)
    return CancelOut(cancelled=done.count, remaining=done.remaining)


@router.get(
    "/{id}",
    dependencies=[needs(Scope.READ)],
    summary="Show a delivery",
    responses=problem_responses(*KEY_PROBLEMS, 404, 503),
)
async def show_delivery(id: str, partner: CallingPartner, db: Db, resources: AppResources) -> DeliveryDetail:
    """Show a delivery by its `webhook-id`, with its attempts and the beginning of each response."""
    return await _shown(id, partner.id, db, resources)


@router.post(
    "/{id}/replay",
    dependencies=[needs(Scope.REPLAY)],
    summary="Replay a delivery",
    responses=problem_responses(*KEY_PROBLEMS, 404, 409, 429, 503),
)
async def replay_delivery(
    id: str,
    partner: CallingPartner,
    db: Db,
    resources: AppResources,
    background: BackgroundTasks,
) -> DeliveryDetail:
    """Send a failed or cancelled delivery again, to the endpoint's current URL, with the same `webhook-id`."""
    await allowances.use(db, partner.id, Action.REPLAY)
    background.add_task(resources.ring, await replay.replay_one(db, partner.id, delivery_of(id)))
    return await _shown(id, partner.id, db, resources)


@router.post(
    "/{id}/cancel",
    dependencies=[needs(Scope.WRITE)],
    summary="Cancel a delivery",
    responses=problem_responses(*KEY_PROBLEMS, 404, 409, 503),
)
async def cancel_delivery(
    id: str, partner: CallingPartner, db: Db, resources: AppResources
) -> DeliveryDetail:
    """Cancel a pending delivery. It can be replayed while its content is kept."""
    await replay.cancel_one(db, partner.id, delivery_of(id))
    return await _shown(id, partner.id, db, resources)


class _QuerySelection(NamedTuple):
    """Selection by query parameters; the request bodies have the same fields."""

    user_tag: str | None
    imap_provider_code: str | None
    kind: EventKind | None
    since: datetime | None
    until: datetime | None


async def _filter_for(
    db: Db,
    partner_id: int,
    state: DeliveryState | None,
    selection: _QuerySelection | ReplayRequest | CancelRequest,
) -> DeliveryFilter:
    """Return the filter for the partner's deliveries that a request selects. Raises NotFound."""
    return await select_deliveries(
        db,
        partner_id,
        state=state,
        kind=selection.kind,
        tag=selection.user_tag,
        code=selection.imap_provider_code,
        since=selection.since,
        until=selection.until,
    )


async def _shown(id: str, partner_id: int, db: Db, resources: AppResources) -> DeliveryDetail:
    found = delivery_of(id)
    listed = DeliveryOut.model_validate(
        await history.get_delivery(db, partner_id, found), from_attributes=True
    )
    made = await history.list_attempts(db, resources.vault, partner_id, found) if found else []
    return DeliveryDetail.model_validate({**listed.model_dump(), "attempts_made": made})
