"""Users of a connection: /api/v1/connections/{imap_provider_code}/users."""

import json
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.api.dependencies import (
    AppResources,
    ConnectionUser,
    Db,
    LockedUser,
    PartnerConnection,
    ShowUser,
    base_url,
    needs,
)
from superimap.api.errors import invalid_fields
from superimap.api.onboarding import CreateUsers, checked_fields, password_limits
from superimap.api.openapi import KEY_PROBLEMS, problem_responses, request_body
from superimap.api.paging import NEXT_PAGE
from superimap.api.request_body import read_body
from superimap.api.router import Router
from superimap.api.routes.connections import BODY_PROBLEMS
from superimap.api.schemas.accounts import ListedUser, NewUser, UserChange, UserEventOut, UserOut
from superimap.core.crypto import Place, Vault, VaultError
from superimap.db.accounts import link_usage, users
from superimap.db.accounts.connections import ProviderConnection
from superimap.db.accounts.link_usage import TooManyPasswords, TriesExceeded
from superimap.db.accounts.validation.accounts import UserFields
from superimap.db.models import User
from superimap.db.monitoring import statuses
from superimap.domain.api_keys import Scope

router = Router(prefix="/api/v1/connections/{imap_provider_code}/users", tags=["users"])

MAX_PAGE_USERS = 1000


@router.get(
    "",
    dependencies=[needs(Scope.READ)],
    summary="List users",
    responses={
        200: {"description": "OK", "headers": NEXT_PAGE},
        **problem_responses(*KEY_PROBLEMS, 404, 422, 503),
    },
)
async def list_users(
    *,
    request: Request,
    response: Response,
    linked: PartnerConnection,
    db: Db,
    resources: AppResources,
    base: Annotated[str, Depends(base_url)],
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_USERS, description="Users per page.")] = MAX_PAGE_USERS,
    after: Annotated[
        str | None, Query(description="Cursor from the header Link of the previous page.")
    ] = None,
    archived: Annotated[
        bool | None, Query(description="`true`: only archived users. `false`: only live ones.")
    ] = None,
) -> list[ListedUser]:
    """List the connection's users by email, including archived ones.

    The URL of the next page contains no API key; send the key again.
    """
    place = _cursor_place(linked)
    found = await users.list(
        db,
        linked.connection,
        archived=archived,
        after=_open_cursor(resources.vault, place, after) if after is not None else None,
        limit=limit + 1,
    )
    page = found[:limit]
    if len(page) < len(found):
        last = users.PageStart(page[-1].email, page[-1].id)
        query = {"limit": limit, "after": _seal_cursor(resources.vault, place, last)}
        if archived is not None:
            query["archived"] = str(archived).lower()
        response.headers["Link"] = f'<{base}{request.url.path}?{urlencode(query)}>; rel="next"'
    return [ListedUser.model_validate(user) for user in page]


@router.post(
    "",
    status_code=201,
    dependencies=[needs(Scope.WRITE)],
    summary="Create a user",
    openapi_extra=request_body(NewUser),
    responses=problem_responses(*KEY_PROBLEMS, 404, 409, *BODY_PROBLEMS, 503),
)
async def create_user(
    imap_provider_code: str, request: Request, onboarding: CreateUsers, show: ShowUser
) -> UserOut:
    """Create a user. With complete credentials, watching starts at once.

    Without them, send the person to `connect_url`.
    """
    return show(await onboarding.create_one(imap_provider_code, request))


@router.get(
    "/{tag}",
    dependencies=[needs(Scope.READ)],
    summary="Show a user",
    responses=problem_responses(*KEY_PROBLEMS, 404, 503),
)
async def show_user(user: ConnectionUser, show: ShowUser) -> UserOut:
    """Show a user, with newly signed links. A live user is preferred to an archived one with the same tag."""
    return show(user)


@router.get(
    "/{tag}/events",
    dependencies=[needs(Scope.READ)],
    summary="List a user's events",
    responses=problem_responses(*KEY_PROBLEMS, 404, 422, 503),
)
async def list_events(
    user: ConnectionUser,
    db: Db,
    limit: Annotated[int, Query(ge=1, le=100, description="Maximum number of events.")] = 20,
) -> list[UserEventOut]:
    """List the user's events, newest first. Webhooks of the kind `events` report them too."""
    return [UserEventOut.model_validate(event) for event in await statuses.list_events(db, user, limit=limit)]


_CHANGES = problem_responses(*KEY_PROBLEMS, 404, 409, *BODY_PROBLEMS, 503)


@router.put(
    "/{tag}",
    dependencies=[needs(Scope.WRITE)],
    summary="Update a user",
    openapi_extra=request_body(UserChange),
    responses=_CHANGES,
)
@router.patch(
    "/{tag}",
    operation_id="patch_user",
    dependencies=[needs(Scope.WRITE)],
    summary="Update a user",
    openapi_extra=request_body(UserChange),
    responses=_CHANGES,
)
async def update_user(
    *,
    linked: PartnerConnection,
    user: LockedUser,
    change: Annotated[UserChange, Depends(read_body(UserChange))],
    db: Db,
    resources: AppResources,
    show: ShowUser,
) -> UserOut:
    """Change the fields that are sent; all others keep their value, with PUT as with PATCH.

    `archived: false` restores an archived user.
    """
    fields = checked_fields(change, resources.settings, host_by_user=linked.provider.host_by_user)
    await _count_password(db, linked, user, fields)
    return show(await users.update(db, resources.vault, linked, user, fields))


@router.delete(
    "/{tag}",
    status_code=204,
    dependencies=[needs(Scope.WRITE)],
    summary="Archive a user",
    responses=problem_responses(*KEY_PROBLEMS, 404, 503),
)
async def archive_user(linked: PartnerConnection, user: LockedUser, db: Db, resources: AppResources) -> None:
    """Stop watching the user. Nothing is deleted: an update with `archived: false` restores the user."""
    await users.archive(db, resources.vault, linked, user)


async def _count_password(
    db: AsyncSession, linked: ProviderConnection, user: User, fields: UserFields
) -> None:
    """Count a password for its mailbox. Raises TooMany: a stolen key must not guess passwords through idlers."""
    limits = password_limits(linked.provider, fields, partner_id=linked.connection.partner_id, user=user)
    if not limits:
        return
    try:
        await link_usage.count_try(db, limits)
    except TriesExceeded as exceeded:
        raise TooManyPasswords(exceeded) from None


def _cursor_place(linked: ProviderConnection) -> Place:
    return Place("connections", "cursor", linked.connection.partner_id, str(linked.connection.id))


def _seal_cursor(vault: Vault, place: Place, last: users.PageStart) -> str:
    """Return a cursor, valid for one connection. It is encrypted, as it contains an address and gets into logs."""
    return vault.seal_text(json.dumps(last), place).hex()


def _open_cursor(vault: Vault, place: Place, cursor: str) -> users.PageStart:
    try:
        email, user_id = json.loads(vault.open_text(bytes.fromhex(cursor), place))
    except (ValueError, VaultError):
        raise invalid_fields(
            [("after", "must be copied unchanged from the header Link of the previous page")]
        ) from None
    return users.PageStart(email, user_id)
