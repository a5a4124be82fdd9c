"""Messages of a user: the mails that were seen, and why each has a webhook or none."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Path, Query, Request, Response

from superimap.api.dependencies import AppResources, ConnectionUser, Db, LockedUser, base_url, needs
from superimap.api.openapi import KEY_PROBLEMS, problem_responses
from superimap.api.paging import NEXT_PAGE
from superimap.api.router import Router
from superimap.api.schemas.messages import MessageOut
from superimap.db.accounts import allowances, mail_retries
from superimap.db.accounts.allowances import Action
from superimap.db.monitoring import messages
from superimap.domain.api_keys import Scope
from superimap.domain.mails import MailOutcome

router = Router(prefix="/api/v1/connections/{imap_provider_code}/users/{tag}/messages", tags=["messages"])


@router.get(
    "",
    dependencies=[needs(Scope.READ)],
    summary="List messages",
    responses={
        200: {"description": "OK", "headers": NEXT_PAGE},
        **problem_responses(*KEY_PROBLEMS, 404, 422, 503),
    },
)
async def list_messages(
    *,
    request: Request,
    response: Response,
    user: ConnectionUser,
    db: Db,
    resources: AppResources,
    base: Annotated[str, Depends(base_url)],
    limit: Annotated[int, Query(ge=1, le=messages.MAX_MESSAGES, description="Messages per page.")] = 20,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="Only messages before the message with this id.")
    ] = None,
    outcome: Annotated[MailOutcome | None, Query(description="Only messages with this outcome.")] = None,
) -> list[MessageOut]:
    """List the mails that were seen for the user, newest first, each with its outcome and reason; no content."""
    found = await resources.read_replica.read(
        db,
        lambda source: messages.list_latest(source, user, limit=limit + 1, before=before, outcome=outcome),
    )
    page = found[:limit]
    if len(page) < len(found):
        query: dict[str, int | str] = {"limit": limit, "before": page[-1].id}
        if outcome is not None:
            query["outcome"] = outcome.value
        response.headers["Link"] = f'<{base}{request.url.path}?{urlencode(query)}>; rel="next"'
    return [MessageOut.model_validate(message, from_attributes=True) for message in page]


@router.post(
    "/{id}/retry",
    status_code=202,
    dependencies=[needs(Scope.REPLAY)],
    summary="Retry a message",
    responses=problem_responses(*KEY_PROBLEMS, 404, 409, 422, 429, 503),
)
async def retry_message(id: Annotated[int, Path(ge=1, lt=2**63)], user: LockedUser, db: Db) -> MessageOut:
    """Read a mail again that was `unreadable`, `too_big` or is `deferred`; it is `deferred` until then."""
    await allowances.use(db, user.partner_id, Action.REPLAY)
    await mail_retries.retry_message(db, user, id)
    (message,) = await messages.list_latest(db, user, limit=1, before=id + 1)
    return MessageOut.model_validate(message, from_attributes=True)
