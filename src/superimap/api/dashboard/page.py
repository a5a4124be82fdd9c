"""A request for a page of the dashboard: who made it, what it may show, and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from superimap.api.dashboard import forms
from superimap.api.dashboard.menus import ADMIN, MENUS, NOTICES, PORTAL
from superimap.api.dashboard.render import render
from superimap.api.errors import Problem
from superimap.api.public_path import PREFIX
from superimap.api.resources import Resources
from superimap.api.source_address import source_address
from superimap.db.models import Operator, Partner
from superimap.db.operators.sessions import OpenSession
from superimap.domain.operators import OperatorRole, allows

MAX_ID = 2**63 - 1
MAX_ID_DIGITS = 19


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
        """Render a page. Only one that a GET would show again is live, which the answer to a form is not."""
        if status != HTTPStatus.OK or self.form is not None:
            values.pop("live", None)
        return render(template, status=status, page=self, token=self.new_token, **values)

    def new_token(self) -> str:
        """Return the token of a new form."""
        return forms.new_token(self.key, self.session)

    def redirect(self, path: str = "", **query: object) -> Response:
        """Send the browser to another page, with a GET."""
        return RedirectResponse(self.url(path, **query), 303)
