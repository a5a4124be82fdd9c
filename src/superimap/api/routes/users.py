"""Whose inboxes are watched? /api/v1/connections/{imap_provider_code}/users"""

import json
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from superimap.api.dependencies import (
    AppResources,
    ConnectionUser,
    Db,
    LockedUser,
    PartnerConnection,
    Resources,
    ShowUser,
    base_url,
)
from superimap.api.errors import invalid_fields
from superimap.api.mail_servers import check_mail_server
from superimap.api.openapi import problems, request_body
from superimap.api.request_body import read_body
from superimap.api.routes.connections import BODY
from superimap.api.schemas.accounts import ListedUser, NewUser, UserChange, UserEventOut, UserOut
from superimap.core.crypto import Place, Vault, VaultError
from superimap.db.accounts import users
from superimap.db.accounts.connections import Linked
from superimap.db.accounts.validation.accounts import UserFields
from superimap.db.monitoring import statuses

router = APIRouter(prefix="/api/v1/connections/{imap_provider_code}/users", tags=["users"])

NEXT_PAGE = {"Link": {"description": 'The next page, as `<url>; rel="next"`.', "schema": {"type": "string"}}}


@router.get(
    "",
    summary="List users",
    responses={200: {"description": "OK", "headers": NEXT_PAGE}, **problems(401, 404, 422, 503)},
)
async def list_users(
    *,
    request: Request,
    response: Response,
    linked: PartnerConnection,
    db: Db,
    opened: AppResources,
    base: Annotated[str, Depends(base_url)],
    limit: Annotated[
        int | None, Query(ge=1, le=1000, description="Users per page; none: all at once.")
    ] = None,
    after: Annotated[str | None, Query(description="Where the page before ended, from its Link.")] = None,
    archived: Annotated[bool | None, Query(description="Only archived users, or only live ones.")] = None,
) -> list[ListedUser]:
    """The connection's users by email, archived ones too. The next page's address holds no API key."""
    place = _cursor_place(linked)
    found = await users.list(
        db,
        linked.connection,
        archived=archived,
        after=_opened(opened.vault, place, after) if after is not None else None,
        limit=limit + 1 if limit is not None else None,
    )
    page = found[:limit]
    if len(page) < len(found):
        last = users.After(page[-1].email, page[-1].id)
        query = {"limit": limit, "after": _sealed(opened.vault, place, last)}
        if archived is not None:
            query["archived"] = str(archived).lower()
        response.headers["Link"] = f'<{base}{request.url.path}?{urlencode(query)}>; rel="next"'
    return [ListedUser.model_validate(user) for user in page]


@router.post(
    "",
    status_code=201,
    summary="Create a user",
    openapi_extra=request_body(NewUser),
    responses=problems(401, 404, 409, *BODY, 503),
)
async def create_user(
    linked: PartnerConnection,
    wanted: Annotated[NewUser, Depends(read_body(NewUser))],
    db: Db,
    opened: AppResources,
    shown: ShowUser,
) -> UserOut:
    """Add a user. With complete credentials it is watched at once; else send the person to `connect_url`."""
    return shown(await users.create(db, opened.vault, linked, _allowed(linked, wanted, opened)))


@router.get("/{tag}", summary="Show a user", responses=problems(401, 404, 503))
async def show_user(user: ConnectionUser, shown: ShowUser) -> UserOut:
    """One user, with freshly signed links. A live user comes before an archived one of the same tag."""
    return shown(user)


@router.get("/{tag}/events", summary="List what happened to a user", responses=problems(401, 404, 422, 503))
async def list_events(
    user: ConnectionUser,
    db: Db,
    limit: Annotated[int, Query(ge=1, le=100, description="At most so many.")] = 20,
) -> list[UserEventOut]:
    """What happened to this user, newest first: as told by webhooks of the kind `events`."""
    return [UserEventOut.model_validate(event) for event in await statuses.list_events(db, user, limit=limit)]


_CHANGES = problems(401, 404, 409, *BODY, 503)


@router.put("/{tag}", summary="Update a user", openapi_extra=request_body(UserChange), responses=_CHANGES)
@router.patch(
    "/{tag}",
    operation_id="patch_user",
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
    opened: AppResources,
    shown: ShowUser,
) -> UserOut:
    """Set what is sent; the rest stays, by PUT as by PATCH. `archived: false` restores an archived user."""
    return shown(await users.update(db, opened.vault, linked, user, _allowed(linked, change, opened)))


@router.delete("/{tag}", status_code=204, summary="Archive a user", responses=problems(401, 404, 503))
async def archive_user(linked: PartnerConnection, user: LockedUser, db: Db, opened: AppResources) -> None:
    """Watch the user no more. Nothing is deleted: an update with `archived: false` restores it."""
    await users.archive(db, opened.vault, linked, user)


def _allowed(linked: Linked, change: UserChange, opened: Resources) -> UserFields:
    """What was sent. Raises Invalid for a mail server that this installation does not dial for others."""
    fields = change.fields()
    if linked.provider.host_by_user:
        check_mail_server(fields, opened.settings)
    return fields


def _cursor_place(linked: Linked) -> Place:
    return Place("connections", "cursor", linked.connection.partner_id, str(linked.connection.id))


def _sealed(vault: Vault, place: Place, last: users.After) -> str:
    """A cursor: encrypted, because it holds an address and ends in logs; good for one connection only."""
    return vault.seal_text(json.dumps(last), place).hex()


def _opened(vault: Vault, place: Place, cursor: str) -> users.After:
    try:
        email, user_id = json.loads(vault.open_text(bytes.fromhex(cursor), place))
    except (ValueError, VaultError):
        raise invalid_fields(
            [("after", "should be taken from the Link of the page before, unchanged")]
        ) from None
    return users.After(email, user_id)
