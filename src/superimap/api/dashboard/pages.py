"""Routes of the dashboard: each page is a function of a `Page`, in one transaction, for operators of a role."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from superimap.api.dashboard import cookies, forms
from superimap.api.dashboard.render import render
from superimap.api.errors import Problem
from superimap.api.public_path import PREFIX
from superimap.api.resources import Resources
from superimap.api.source_address import source_address
from superimap.db import audit
from superimap.db.models import Operator, Partner
from superimap.db.operators import forms as used_forms
from superimap.db.operators import sessions
from superimap.db.operators.sessions import OpenSession
from superimap.domain.audit import Actor, ActorKind
from superimap.domain.operators import SESSION_TIME, OperatorRole, allows

READ_TIMEOUT_SECONDS = 3
"""For a statement of a page."""
WRITE_TIMEOUT_SECONDS = 20
"""For a statement of an action."""
REFRESH_HEADER = "x-refresh"
"""Header of a request that a page sends by itself."""
NO_PRIVILEGE = "42501"
"""SQLSTATE insufficient_privilege."""
MAX_ID = 2**63 - 1
MAX_ID_DIGITS = 19
MAX_FIELDS = 200
"""Fields of a form; the size of its body is limited for every request."""
ADMIN, PORTAL = "admin", "portal"
MENUS = {
    ADMIN: (
        ("Now", ""),
        ("Deliveries", "/deliveries"),
        ("Jobs", "/jobs"),
        ("Partners", "/partners"),
        ("Providers", "/providers"),
        ("Cluster", "/cluster"),
        ("Operators", "/operators"),
        ("Audit log", "/audit"),
        ("System", "/system"),
    ),
    PORTAL: (
        ("Overview", ""),
        ("Mailboxes", "/mailboxes"),
        ("Deliveries", "/deliveries"),
        ("Keys", "/keys"),
        ("Check a signature", "/signature"),
    ),
}
NOTICES = {
    "archived": "The mailbox is archived. Nobody watches it.",
    "restored": "The mailbox is restored.",
    "retried": "The idler was told to try now.",
    "reread": "The mail will be read again within a minute.",
    "replayed": "The webhook is due again.",
    "cancelled": "The webhook is cancelled.",
    "job-cancelled": "The job ends after its present batch. What it has done stays.",
    "enabled": "The endpoint is enabled again.",
    "created": "It is created.",
    "saved": "The changes are saved.",
    "deleted": "It is deleted.",
    "ended": "The session is ended.",
    "unlocked": "The operator may try passwords again.",
    "unchanged": "Nothing was changed.",
}
"""What a page says after an action: the value of the parameter `done`. Nobody else can put words there."""


@dataclass(frozen=True, slots=True)
class Page:
    """A request for a page: its transaction, and who made it. `form` has the fields of a POST."""

    request: Request
    resources: Resources
    db: AsyncSession
    door: str
    opened: OpenSession | None = None
    form: Mapping[str, str] | None = None

    @property
    def operator(self) -> Operator:
        """The operator who is signed in. Raises Problem 401 if nobody is."""
        if self.opened is None or self.opened.operator is None:
            raise Problem(401, "Sign in first.")
        return self.opened.operator

    @property
    def partner(self) -> Partner:
        """The partner whose portal this is. Raises Problem 401 if no portal is open."""
        if self.opened is None or self.opened.partner is None:
            raise Problem(401, "Open the portal by a new link.")
        return self.opened.partner

    @property
    def scope(self) -> int | None:
        """The id of the partner whose rows the page may show; None in the dashboard, which shows all."""
        return None if self.door == ADMIN else self.partner.id

    @property
    def may_act(self) -> bool:
        """Whether the person may act: try again, replay and the like."""
        return self.door == PORTAL or self.allows(OperatorRole.OPERATOR)

    @property
    def is_fresh(self) -> bool:
        """Whether the identity was confirmed within the last minutes."""
        return self.opened is not None and self.opened.is_stepped_up

    @property
    def key(self) -> bytes:
        """The key that signs forms."""
        return self.resources.link_keys[0]

    @property
    def session(self) -> bytes:
        """The digest of the session, to which forms are bound; empty without one."""
        return self.opened.session.digest if self.opened else b""

    @property
    def address(self) -> str:
        """The address of the client."""
        return str(source_address(self.request, self.resources.settings.trusted_proxies) or "unknown")

    @property
    def base(self) -> str:
        """The address of this installation as the browser knows it, without the prefix."""
        return f"{self.request.scope['scheme']}://{self.request.scope['superimap.host']}"

    @property
    def assets(self) -> str:
        """The address of styles and scripts."""
        return f"{self.request.scope[PREFIX]}/docs/assets"

    @property
    def title(self) -> str:
        """What is below the name of the product on every page."""
        return "Dashboard" if self.door == ADMIN else "Portal"

    @property
    def menu(self) -> tuple[tuple[str, str], ...]:
        """Names and paths of the pages in the menu."""
        return MENUS[self.door]

    @property
    def notice(self) -> str:
        """What the action that led here has done; empty if none did."""
        return NOTICES.get(self.query("done"), "")

    def allows(self, needed: str) -> bool:
        """Whether the operator has this role, or a higher one."""
        operator = self.opened.operator if self.opened else None
        return operator is not None and allows(OperatorRole(operator.role), OperatorRole(needed))

    def url(self, path: str = "", **query: object) -> str:
        """Return the address of a page below this door; a query parameter that is None is left out."""
        given = urlencode({name: value for name, value in query.items() if value is not None})
        return f"{self.request.scope[PREFIX]}/{self.door}{path}{'?' if given else ''}{given}"

    def delivery_url(self, partner_id: int, webhook_id: str) -> str:
        """Return the address of the page of a delivery."""
        return self.url(
            f"/deliveries/{webhook_id}" if self.scope else f"/deliveries/{partner_id}/{webhook_id}"
        )

    def field(self, name: str, *, default: str = "") -> str:
        """Return a field of the form without blanks around it."""
        return (self.form or {}).get(name, default).strip()

    def query(self, name: str) -> str:
        """Return a parameter of the query without blanks around it."""
        return self.request.query_params.get(name, "").strip()

    def number(self, name: str) -> int | None:
        """Return a parameter of the query that is the number of a row; None for anything else."""
        given = self.query(name)
        is_number = given.isascii() and given.isdecimal() and len(given) <= MAX_ID_DIGITS
        return int(given) if is_number and 0 < int(given) <= MAX_ID else None

    def show(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Render a page."""
        return render(template, status=status, page=self, token=self.new_token, **values)

    def new_token(self) -> str:
        """Return the token of a new form."""
        return forms.new_token(self.key, self.session)

    def redirect(self, path: str = "", **query: object) -> Response:
        """Send the browser to another page, with a GET."""
        return RedirectResponse(self.url(path, **query), 303)


Show: TypeAlias = Callable[..., Awaitable[Response]]


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
                async with _transaction(request, READ_TIMEOUT_SECONDS) as db:
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
                async with _transaction(request, WRITE_TIMEOUT_SECONDS) as db:
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

    def _add(
        self, path: str, answer: Callable[[Request, str], Awaitable[Response]], method: str, name: str
    ) -> None:
        for door in self._doors:
            self.routes.append(
                Route(f"/{door}{path}", _behind(door, answer), methods=[method], name=f"{door}.{name}")
            )


def _behind(
    door: str, answer: Callable[[Request, str], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await answer(request, door)

    return endpoint


async def _open(request: Request, db: AsyncSession, door: str) -> Page:
    digest = cookies.session_digest(request, door)
    is_person = REFRESH_HEADER not in request.headers
    opened = await sessions.find(db, digest, is_person=is_person) if digest is not None else None
    if opened is not None and (opened.operator is not None) != (door == ADMIN):
        opened = None
    page = Page(request, request.app.state.resources, db, door, opened)
    audit.set_actor(db, _actor(page))
    return page


def _transaction(request: Request, seconds: int) -> Any:
    return _Transaction(request.app.state.resources, seconds)


class _Transaction:
    """A transaction on the dashboard's own connections, with a time-out for each statement."""

    def __init__(self, resources: Resources, seconds: int) -> None:
        self._sessions = resources.dashboard_sessions or resources.sessionmaker
        self._seconds = seconds

    async def __aenter__(self) -> AsyncSession:
        self._whole = self._sessions.begin()
        db = await self._whole.__aenter__()
        await db.execute(text(f"SET LOCAL statement_timeout = '{self._seconds}s'"))
        return db

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._whole.__aexit__(kind, error, trace)
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == NO_PRIVILEGE:
            raise Problem(
                503,
                "The database user of the dashboard lacks a privilege. Set DASHBOARD_DATABASE_URL to a user with "
                "the role superimap_operator.",
                kind="no-privilege",
            )


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
