"""Connections of the calling partner: /api/v1/connections."""

from typing import Annotated

from fastapi import Depends

from superimap.api.dependencies import (
    AppResources,
    CallingPartner,
    Db,
    PartnerConnection,
    needs,
    unknown_provider,
)
from superimap.api.errors import Problem
from superimap.api.openapi import KEY_PROBLEMS, problem_responses, request_body
from superimap.api.request_body import read_body
from superimap.api.router import Router
from superimap.api.schemas.accounts import ConnectionChange, ConnectionOut, NewConnection
from superimap.db.accounts import connections, providers
from superimap.domain.api_keys import Scope

router = Router(prefix="/api/v1/connections", tags=["connections"])

CODE = "/{imap_provider_code}"
BODY_PROBLEMS = (408, 413, 415, 422)


@router.get(
    "",
    dependencies=[needs(Scope.READ)],
    summary="List connections",
    responses=problem_responses(*KEY_PROBLEMS, 503),
)
async def list_connections(partner: CallingPartner, db: Db) -> list[ConnectionOut]:
    """List your connections, ordered by provider code."""
    return [
        ConnectionOut.model_validate(listed) for listed in await connections.list_with_counts(db, partner.id)
    ]


@router.post(
    "",
    status_code=201,
    dependencies=[needs(Scope.WRITE)],
    summary="Create a connection",
    openapi_extra=request_body(NewConnection),
    responses=problem_responses(*KEY_PROBLEMS, 404, 409, *BODY_PROBLEMS, 503),
)
async def create_connection(
    partner: CallingPartner,
    body: Annotated[NewConnection, Depends(read_body(NewConnection))],
    db: Db,
    resources: AppResources,
) -> ConnectionOut:
    """Create a connection to a mail provider, which your users can then use. One per provider."""
    code = body.imap_provider_code
    provider = await providers.by_code(db, code) if code.isprintable() else None
    if provider is None:
        raise unknown_provider(code)
    linked = await connections.create(db, resources.vault, partner.id, provider, body.fields())
    return ConnectionOut.model_validate(await connections.with_count(db, linked.connection.id))


@router.get(
    CODE,
    dependencies=[needs(Scope.READ)],
    summary="Show a connection",
    responses=problem_responses(*KEY_PROBLEMS, 404, 503),
)
async def show_connection(linked: PartnerConnection, db: Db) -> ConnectionOut:
    """Show one connection, with its number of users."""
    return ConnectionOut.model_validate(await connections.with_count(db, linked.connection.id))


_CHANGES = problem_responses(*KEY_PROBLEMS, 404, *BODY_PROBLEMS, 503)


@router.put(
    CODE,
    dependencies=[needs(Scope.WRITE)],
    summary="Update a connection",
    openapi_extra=request_body(ConnectionChange),
    responses=_CHANGES,
)
@router.patch(
    CODE,
    operation_id="patch_connection",
    dependencies=[needs(Scope.WRITE)],
    summary="Update a connection",
    openapi_extra=request_body(ConnectionChange),
    responses=_CHANGES,
)
async def update_connection(
    linked: PartnerConnection,
    change: Annotated[ConnectionChange, Depends(read_body(ConnectionChange))],
    db: Db,
    resources: AppResources,
) -> ConnectionOut:
    """Change the fields that are sent; all others keep their value, with PUT as with PATCH.

    Logins that were refused are tried again.
    """
    await connections.update(db, resources.vault, linked, change.fields())
    return ConnectionOut.model_validate(await connections.with_count(db, linked.connection.id))


@router.delete(
    CODE,
    status_code=204,
    dependencies=[needs(Scope.WRITE)],
    summary="Delete a connection",
    responses=problem_responses(*KEY_PROBLEMS, 404, 503),
)
async def delete_connection(linked: PartnerConnection, db: Db) -> None:
    """Delete the connection, its users, and all of their records. This cannot be undone."""
    if not await connections.delete(db, linked.connection.partner_id, linked.provider.code):
        raise Problem(404, "Connection not found.")
