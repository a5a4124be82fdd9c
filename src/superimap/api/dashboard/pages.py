"""Routes of the dashboard: each page is a function of a `Page`, in one transaction, for operators of a role."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeAlias
from urllib.parse import quote

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from superimap.api.dashboard import cookies, forms
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import MAX_ID, Page
from superimap.api.errors import Problem
from superimap.api.operator_transaction import (
    READ_TIMEOUT_SECONDS,
    WRITE_TIMEOUT_SECONDS,
    OperatorTransaction,
)
from superimap.api.router import PageRoute
from superimap.db import audit
from superimap.db.operators import forms as used_forms
from superimap.db.operators import sessions
from superimap.domain.audit import Actor, ActorKind
from superimap.domain.operators import SESSION_TIME, OperatorRole

REFRESH_HEADER = "x-refresh"
"""Header of a request that a page sends by itself."""
MAX_FIELDS = 200
"""Fields of a form; the size of its body is limited for every request."""

Show: TypeAlias = Callable[..., Awaitable[Response]]
RequestHandler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Pages:
    """Routes below one door, or both. A route opens the transaction, and commits it before it answers.

    A page of both doors shows rows of `page.scope` only.
    """

    def __init__(self, *doors: str) -> None:
        self._doors = doors
        self.routes: list[Route] = []

    def get(self, path: str, *, role: OperatorRole | None = OperatorRole.VIEWER) -> Callable[[Show], Show]:
        """Add a page. `role` None: also without a session."""

        def add(show: Show) -> Show:
            async def answer(request: Request, door: str) -> Response:
                async with OperatorTransaction(request.app.state.resources, READ_TIMEOUT_SECONDS) as db:
                    page = await _open(request, db, door)
                    if role is not None and page.opened is None:
                        return page.redirect("/sign-in", next=_own_path(request, door))
                    _require(page, role)
                    return await show(page, **request.path_params)

            self._add(path, answer, "GET", show.__name__)
            return show

        return add

    def post(
        self,
        path: str,
        *,
        role: OperatorRole | None = OperatorRole.OPERATOR,
        fresh: bool = False,
        once: bool = True,
    ) -> Callable[[Show], Show]:
        """Add an action, whose form was shown in the same session, and is accepted once.

        `fresh`: the identity must have been confirmed within the last minutes.
        """

        def add(act: Show) -> Show:
            async def answer(request: Request, door: str) -> Response:
                async with OperatorTransaction(request.app.state.resources, WRITE_TIMEOUT_SECONDS) as db:
                    page = await _open(request, db, door)
                    forms.require_own_page(request, page.base)
                    if role is not None and page.opened is None:
                        raise Problem(401, "Your session has ended. Sign in and repeat the action.")
                    _require(page, role)
                    page = replace(page, form=await _read_form(request))
                    if once:
                        await _use_form(page)
                    if fresh and not (page.opened and page.opened.is_stepped_up):
                        return page.redirect("/confirm", next=page.field("back"))
                    return await act(page, **request.path_params)

            self._add(path, answer, "POST", act.__name__)
            return act

        return add

    def waiting(self, path: str) -> Callable[[RequestHandler], RequestHandler]:
        """Add a page that waits for another server, and opens its transactions itself, with `opened_page`."""

        def add(show: RequestHandler) -> RequestHandler:
            self._add(path, lambda request, _: show(request), "GET", show.__name__)
            return show

        return add

    def _add(
        self, path: str, answer: Callable[[Request, str], Awaitable[Response]], method: str, name: str
    ) -> None:
        for door in self._doors:
            self.routes.append(
                PageRoute(f"/{door}{path}", _behind(door, answer), methods=[method], name=f"{door}.{name}")
            )


def _behind(
    door: str, answer: Callable[[Request, str], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        ids = (value for value in request.path_params.values() if isinstance(value, int))
        if any(each > MAX_ID for each in ids):  # no row has it, and PostgreSQL would refuse it
            raise Problem(404, "There is no such page.")
        return await answer(request, door)

    return endpoint


@asynccontextmanager
async def opened_page(request: Request, door: str) -> AsyncIterator[Page]:
    """Open a transaction of a page that changes something. After it the page can still be shown and redirect."""
    async with OperatorTransaction(request.app.state.resources, WRITE_TIMEOUT_SECONDS) as db:
        yield await _open(request, db, door)


async def _open(request: Request, db: AsyncSession, door: str) -> Page:
    digest = cookies.session_digest(request, door)
    is_person = REFRESH_HEADER not in request.headers
    opened = await sessions.find(db, digest, is_person=is_person) if digest is not None else None
    if opened is not None and (opened.operator is not None) != (door == ADMIN):
        opened = None
    page = Page(request, request.app.state.resources, db, door, opened)
    audit.set_actor(db, _actor(page))
    return page


def _actor(page: Page) -> Actor:
    if page.opened is None:
        return Actor(ActorKind.SYSTEM, "dashboard", {"address": page.address})
    if page.opened.operator is not None:
        operator = page.opened.operator
        return Actor(ActorKind.OPERATOR, operator.email, {"address": page.address, "role": operator.role})
    return Actor(ActorKind.PORTAL, page.opened.session.opened_by or "portal", {"address": page.address})


def _require(page: Page, role: OperatorRole | None) -> None:
    if role is not None and page.door == ADMIN and not page.allows(role):
        raise Problem(403, f"This needs the role {role}; yours is {page.operator.role}.", kind="role")


def _own_path(request: Request, door: str) -> str:
    """Return the path and query of a page below this door, to return to it after the sign-in."""
    query = f"?{request.url.query}" if request.url.query else ""
    return quote(f"{request.scope['path'].removeprefix(f'/{door}')}{query}", safe="/?&=%")


async def _read_form(request: Request) -> dict[str, str]:
    given: FormData = await request.form(max_files=0, max_fields=MAX_FIELDS)
    return {name: value for name, value in given.multi_items() if isinstance(value, str)}


async def _use_form(page: Page) -> None:
    token = (page.form or {}).get(forms.FIELD, "")
    digest = forms.token_digest(page.resources.link_keys, page.session, token)
    if not await used_forms.use(page.db, digest, SESSION_TIME):
        raise Problem(
            409,
            "This form was sent before, and its action was carried out then. Open the page again to repeat it.",
            kind="repeated-form",
        )
