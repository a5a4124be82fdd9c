"""Many users of a connection: /api/v1/connections/{imap_provider_code}/users/batch."""

from fastapi import Request, Response

from superimap.api.dependencies import ShowUser, needs
from superimap.api.onboarding import CreateUsers
from superimap.api.openapi import KEY_PROBLEMS, problem_responses, request_body
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.user_batches import NewUserBatch, UserBatchOut
from superimap.api.user_batch import describe_results, read_batch
from superimap.domain.api_keys import Scope

router = Router(prefix="/api/v1/connections/{imap_provider_code}/users/batch", tags=["users"])


@router.post(
    "",
    dependencies=[needs(Scope.WRITE)],
    summary="Create many users",
    openapi_extra=request_body(NewUserBatch),
    response_model=UserBatchOut,
    responses=problem_responses(*KEY_PROBLEMS, 404, *BODY_PROBLEMS, 503),
)
async def create_users(
    imap_provider_code: str, request: Request, onboarding: CreateUsers, show: ShowUser
) -> Response:
    """Create up to 1,000 users, in one transaction. Those that cannot be created do not affect the others.

    Repeat the request if its response is lost: users that it has created are then reported as `exists`.
    """
    users = await read_batch(request)
    results = await onboarding.create_many(imap_provider_code, users)
    body = UserBatchOut(results=await describe_results(results, show))
    return Response(body.model_dump_json(), media_type="application/json")
