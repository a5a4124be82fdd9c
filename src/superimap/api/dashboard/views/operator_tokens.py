"""The form that makes a token for a program, and the ends of tokens."""

from starlette.responses import Response

from superimap.api.dashboard.form_fields import (
    CORRECTABLE,
    Field,
    FieldKind,
    Form,
    form_of,
    read_form,
    refused,
)
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.views.mailbox import row_number
from superimap.db.operators import accounts, tokens
from superimap.domain.operators import DEFAULT_TOKEN_DAYS, OperatorRole, allows

pages = Pages(ADMIN)

_CONFIRMED = "Also for what needs a confirmed identity: deletions, keys, providers, roles, large jobs"


@pages.get("/account/tokens/new")
async def new_token(page: Page) -> Response:
    """Show the form of a new token."""
    defaults = {"role": OperatorRole.VIEWER, "days": DEFAULT_TOKEN_DAYS}
    return _show(page, form_of(_fields(page), defaults))


@pages.post("/account/tokens/new", role=OperatorRole.VIEWER, fresh=True)
async def create_token(page: Page) -> Response:
    """Create a token, and show it this once."""
    fields = _fields(page)
    try:
        given = read_form(page, fields)
        operator = await accounts.get(page.db, page.operator.id, lock=True)
        made = await tokens.create(
            page.db,
            operator,
            name=given["name"],
            role=given["role"],
            days=given["days"] or 0,
            is_confirmed=given["confirmed"],
        )
    except CORRECTABLE as error:
        return _show(page, refused(page, fields, error), status=422)
    return page.show(
        "secret_once.html",
        heading="The token is made",
        trail=[("Your account", "/account")],
        secrets=[("Token", made.secret)],
        note="Send it as Authorization: Bearer, to addresses that begin with /api/v1/operator.",
        next=("/account", "To your account"),
    )


@pages.post("/account/tokens/{token_id}/revoke", role=OperatorRole.VIEWER)
async def revoke_own(page: Page, token_id: str) -> Response:
    """End one of the operator's own tokens."""
    await tokens.revoke(page.db, row_number(token_id), operator=page.operator)
    return page.redirect("/account", done="revoked")


@pages.post("/operators/{operator_id}/tokens/{token_id}/revoke", role=OperatorRole.OWNER)
async def revoke(page: Page, operator_id: str, token_id: str) -> Response:
    """End a token of an operator."""
    found = await accounts.get(page.db, row_number(operator_id))
    await tokens.revoke(page.db, row_number(token_id), operator=found)
    return page.redirect(f"/operators/{found.id}", done="revoked")


def _fields(page: Page) -> tuple[Field, ...]:
    own = OperatorRole(page.operator.role)
    roles = [(role.value, role.value) for role in OperatorRole if allows(own, role)]
    return (
        Field("name", "Name", hint="Such as the program that uses it.", is_required=True),
        Field("role", "Role", FieldKind.CHOICE, "What the program may do; viewer only reads.", roles),
        Field("days", "Days", FieldKind.NUMBER, "For which it is valid, 365 at most.", is_required=True),
        Field("confirmed", _CONFIRMED, FieldKind.CHECK),
    )


def _show(page: Page, form: Form, *, status: int = 200) -> Response:
    return page.show(
        "account_form.html",
        status=status,
        heading="Make a token",
        trail=[("Your account", "/account")],
        note="With a token, a program acts for you by the operator API, until your role falls below its own.",
        form=form,
        groups=[("Token", None)],
        path="/account/tokens/new",
        fresh="/account/tokens/new",
        cancel="/account",
        button="Make the token",
    )
