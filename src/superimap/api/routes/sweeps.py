"""Sweeps of a user: readings of the mailbox's history into webhooks."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response

from superimap.api.dependencies import ConnectionUser, Db, LockedUser, base_url, needs
from superimap.api.openapi import KEY_PROBLEMS, problem_responses, request_body
from superimap.api.paging import NEXT_PAGE, link_next
from superimap.api.request_body import read_body
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.sweeps import (
    NewSweep,
    SweepDetailOut,
    SweepOut,
    sweep_detail,
    sweep_out,
)
from superimap.db.accounts import sweeps
from superimap.db.accounts.sweeps import SweepRequest
from superimap.domain.api_keys import Scope
from superimap.domain.sweeps import SweepState

router = Router(prefix="/api/v1/connections/{imap_provider_code}/users/{tag}/sweeps", tags=["sweeps"])

SweepId = Annotated[int, Path(ge=1, lt=2**63)]
_CHANGES = problem_responses(*KEY_PROBLEMS, 404, 409, 422, 503)


@router.post(
    "",
    status_code=201,
    dependencies=[needs(Scope.REPLAY)],
    summary="Create a sweep",
    openapi_extra=request_body(NewSweep),
    responses=problem_responses(*KEY_PROBLEMS, 404, 409, *BODY_PROBLEMS, 503),
)
async def create_sweep(
    user: LockedUser, body: Annotated[NewSweep, Depends(read_body(NewSweep))], db: Db
) -> SweepOut:
    """Read the mailbox's history into webhooks with `origin: sweep`.

    A mail that had its webhook is not sent again, unless `again` is true.
    """
    fields = body.model_dump(exclude={"limit"})
    return sweep_out(await sweeps.create(db, user, SweepRequest(**fields, max_mails=body.limit)))


@router.get(
    "",
    dependencies=[needs(Scope.READ)],
    summary="List sweeps",
    responses={
        200: {"description": "OK", "headers": NEXT_PAGE},
        **problem_responses(*KEY_PROBLEMS, 404, 422, 503),
    },
)
async def list_sweeps(
    *,
    request: Request,
    response: Response,
    user: ConnectionUser,
    db: Db,
    base: Annotated[str, Depends(base_url)],
    limit: Annotated[int, Query(ge=1, le=sweeps.MAX_SWEEPS, description="Sweeps per page.")] = 20,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="Only sweeps before the sweep with this id.")
    ] = None,
) -> list[SweepOut]:
    """List the sweeps of the user, latest first."""
    found = await sweeps.list_latest(db, user, limit=limit + 1, before=before)
    page = found[:limit]
    if len(page) < len(found):
        link_next(request, response, base, "before", page[-1].id)
    return [sweep_out(each) for each in page]


@router.get(
    "/{id}",
    dependencies=[needs(Scope.READ)],
    summary="Show a sweep",
    responses=problem_responses(*KEY_PROBLEMS, 404, 422, 503),
)
async def show_sweep(id: SweepId, user: ConnectionUser, db: Db) -> SweepDetailOut:
    """Show a sweep, how far it is, and the mails that could not be read."""
    found = await sweeps.get(db, user, id)
    return sweep_detail(found, await sweeps.list_unread(db, found))


@router.post("/{id}/pause", dependencies=[needs(Scope.REPLAY)], summary="Pause a sweep", responses=_CHANGES)
async def pause_sweep(id: SweepId, user: LockedUser, db: Db) -> SweepOut:
    """Pause a sweep after its present batch. It keeps its place."""
    return sweep_out(await sweeps.set_state(db, user, id, SweepState.PAUSED))


@router.post("/{id}/resume", dependencies=[needs(Scope.REPLAY)], summary="Resume a sweep", responses=_CHANGES)
async def resume_sweep(id: SweepId, user: LockedUser, db: Db) -> SweepOut:
    """Go on with a paused sweep where it was paused, or at once with one that waits."""
    return sweep_out(await sweeps.set_state(db, user, id, SweepState.WAITING))


@router.post("/{id}/cancel", dependencies=[needs(Scope.REPLAY)], summary="Cancel a sweep", responses=_CHANGES)
async def cancel_sweep(id: SweepId, user: LockedUser, db: Db) -> SweepOut:
    """End a sweep after its present batch. Webhooks that are recorded are sent."""
    return sweep_out(await sweeps.set_state(db, user, id, SweepState.CANCELLED))
