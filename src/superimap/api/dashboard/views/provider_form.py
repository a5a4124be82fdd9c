"""The pages that create, edit and delete a provider."""

from collections.abc import Sequence

from starlette.responses import Response

from superimap.api.dashboard.form_fields import CORRECTABLE, Field, Form, form_of, read_form, refused
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.provider_fields import FIELDS, GROUPS, STORED_SECRETS
from superimap.api.dashboard.views.connections import get_provider
from superimap.db.accounts import providers
from superimap.db.accounts.stored_secrets import SecretsUndecided, StoredSecrets
from superimap.db.models import Provider
from superimap.domain.operators import OperatorRole

pages = Pages(ADMIN)

_DEFAULTS = {"kind": "PLAIN", "imap_port": 993, "imap_tls": "tls", "smtp_tls": "starttls"}
_LIST = [("Providers", "/providers")]


@pages.get("/providers/new", role=OperatorRole.OWNER)
async def new_provider(page: Page) -> Response:
    """Show the form of a new provider."""
    return _show_form(page, form_of(FIELDS, _DEFAULTS))


@pages.post("/providers/new", role=OperatorRole.OWNER)
async def create_provider(page: Page) -> Response:
    """Create a provider."""
    try:
        fields = read_form(page, FIELDS)
        async with page.db.begin_nested():
            provider = await providers.create(page.db, **fields)
    except CORRECTABLE as error:
        return _show_form(page, refused(page, FIELDS, error), status=422)
    return page.redirect(f"/providers/{provider.code}", done="created")


@pages.get("/providers/{code}/edit", role=OperatorRole.OWNER)
async def edit_provider(page: Page, code: str) -> Response:
    """Show the form of a provider."""
    provider = await get_provider(page, code)
    return _show_form(page, _present(provider), provider)


@pages.post("/providers/{code}/edit", role=OperatorRole.OWNER, fresh=True)
async def update_provider(page: Page, code: str) -> Response:
    """Change the fields that differ; where secrets would go elsewhere, ask what becomes of them."""
    provider = await get_provider(page, code)
    name = provider.code
    before = _present(provider)
    decided = page.field("stored_secrets")
    decision = StoredSecrets(decided) if decided in set(StoredSecrets) else None
    fields: Sequence[Field] = FIELDS if not decided else (*FIELDS, STORED_SECRETS)
    try:
        changes = read_form(page, FIELDS, before)
        if not changes:
            return page.redirect(f"/providers/{name}", done="unchanged")
        async with page.db.begin_nested():
            changed = await providers.update(page.db, code, stored_secrets=decision, **changes)
            name = changed.code
    except SecretsUndecided as error:
        form = refused(page, (*FIELDS, STORED_SECRETS), error)
        form = Form(form.fields, form.values, {STORED_SECRETS.name: _undecided(error)})
        return await _show_again(page, form, provider)
    except CORRECTABLE as error:
        return await _show_again(page, refused(page, fields, error), provider)
    return page.redirect(f"/providers/{name}", done="saved")


@pages.get("/providers/{code}/delete", role=OperatorRole.OWNER)
async def ask_to_delete(page: Page, code: str) -> Response:
    """Ask for the code of the provider."""
    return _show_deletion(page, await get_provider(page, code))


@pages.post("/providers/{code}/delete", role=OperatorRole.OWNER, fresh=True)
async def delete_provider(page: Page, code: str) -> Response:
    """Delete a provider that no partner uses."""
    provider = await get_provider(page, code)
    if page.field("code") != provider.code:
        return _show_deletion(page, provider, fault="This is not the code of the provider.")
    await providers.delete(page.db, provider.code)
    return page.redirect("/providers", done="deleted")


def _undecided(error: SecretsUndecided) -> str:
    users = f"{error.users:,} {'mailbox' if error.users == 1 else 'mailboxes'}"
    clients = f"{error.clients:,} OAuth 2.0 {'client' if error.clients == 1 else 'clients'}"
    fields = ", ".join(error.fields)
    return (
        f"The secrets of {users} and {clients} are stored for the present {fields}. Say what becomes of them."
    )


async def _show_again(page: Page, form: Form, provider: Provider) -> Response:
    await page.db.refresh(provider)
    return _show_form(page, form, provider, status=422)


def _present(provider: Provider) -> Form:
    return form_of(FIELDS, {each.name: getattr(provider, each.name) for each in FIELDS})


def _show_form(page: Page, form: Form, provider: Provider | None = None, *, status: int = 200) -> Response:
    groups = [(title, [each.name for each in fields]) for title, fields in GROUPS]
    if STORED_SECRETS in form.fields:
        groups = [("Stored secrets", [STORED_SECRETS.name]), *groups]
    path = f"/providers/{provider.code}" if provider else "/providers"
    extra = {"fresh": f"{path}/edit"} if provider else {}
    return page.show(
        "account_form.html",
        status=status,
        section="/providers",
        heading=f"Edit {provider.code}" if provider else "Add a provider",
        trail=[*_LIST, (provider.code, path)] if provider else _LIST,
        form=form,
        groups=groups,
        path=f"{path}/edit" if provider else "/providers/new",
        cancel=path,
        button="Save" if provider else "Add the provider",
        **extra,
    )


def _show_deletion(page: Page, provider: Provider, *, fault: str = "") -> Response:
    path = f"/providers/{provider.code}"
    return page.show(
        "delete.html",
        status=422 if fault else 200,
        section="/providers",
        trail=[*_LIST, (provider.code, path)],
        heading=f"Delete {provider.code}",
        what="Partners can no longer connect to it. A preset comes back with the next `superimap migrate`.",
        path=f"{path}/delete",
        back=path,
        field="code",
        label="Code of the provider",
        expected=provider.code,
        fault=fault,
        users=0,
        most=0,
        command="",
    )
