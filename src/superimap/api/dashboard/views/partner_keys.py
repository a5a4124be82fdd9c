"""The page Keys of a partner: its API keys and its signing secrets."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

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
from superimap.api.dashboard.page import MAX_ID, Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.trails import partner_path, partner_trail
from superimap.api.dashboard.views.partners import get_partner
from superimap.db.accounts import api_keys, partner_keys
from superimap.db.accounts.validation.api_keys import validate_key
from superimap.db.errors import NotFound
from superimap.domain.api_keys import Scope
from superimap.domain.operators import OperatorRole

pages = Pages(ADMIN)

SCOPE_WORDS = {
    Scope.READ: "Read everything, except keys",
    Scope.WRITE: "Change connections and mailboxes",
    Scope.REPLAY: "Send webhooks again",
    Scope.KEYS: "Manage keys and signing secrets",
}
KEY_FIELDS = (
    Field("name", "Name", hint="Such as billing-reader.", is_required=True),
    *(Field(f"scope_{scope}", words, FieldKind.CHECK) for scope, words in SCOPE_WORDS.items()),
    Field(
        "networks",
        "Networks",
        FieldKind.LINES,
        "From which it may be used, one in each line, such as 192.0.2.0/24. Empty: from anywhere.",
    ),
    Field(
        "expires_at", "Last day", FieldKind.DATE, "It is valid until the end of this day, UTC. Empty: no end."
    ),
)
DEFAULTS: Mapping[str, Any] = {"scope_read": True, "scope_write": True, "scope_replay": True}
OVERLAPS: Mapping[str, tuple[str, timedelta]] = {
    "1d": ("for another day", timedelta(days=1)),
    "7d": ("for another week", timedelta(days=7)),
    "1h": ("for another hour", timedelta(hours=1)),
    "0": ("no longer: it ends now", timedelta(0)),
}


@pages.get("/partners/{partner_id:int}/keys", role=OperatorRole.OWNER)
async def show_keys(page: Page, partner_id: int) -> Response:
    """Show the keys and secrets of a partner, and what can be done with them."""
    return await _show(page, partner_id, form_of(KEY_FIELDS, DEFAULTS))


@pages.post("/partners/{partner_id:int}/keys", role=OperatorRole.OWNER, fresh=True)
async def add_key(page: Page, partner_id: int) -> Response:
    """Add an API key, and show it this once."""
    await get_partner(page, partner_id)
    try:
        given = read_form(page, KEY_FIELDS)
        fields = {name: given[name] for name in ("name", "networks", "expires_at")}
        fields["scopes"] = [scope for scope in Scope if given[f"scope_{scope}"]]
        created = await api_keys.create(page.db, page.resources.vault, partner_id, validate_key(fields))
    except CORRECTABLE as error:
        return await _show(page, partner_id, refused(page, KEY_FIELDS, error), status=422)
    return await _show_once(page, partner_id, "The API key is added", ("API key", created.secret))


@pages.post("/partners/{partner_id:int}/keys/rotate", role=OperatorRole.OWNER, fresh=True)
async def rotate_key(page: Page, partner_id: int) -> Response:
    """Replace the key that signs bodies, and show the new one this once."""
    await get_partner(page, partner_id)
    overlap = _overlap(page)
    created = await api_keys.rotate(page.db, page.resources.vault, partner_id, overlap=overlap)
    page.resources.known_keys.forget()
    note = (
        "Until the previous key ends, it signs the bodies of webhooks; afterwards the new one does."
        if overlap
        else "The previous key is no longer valid. The new one signs the bodies of webhooks from now on."
    )
    return await _show_once(page, partner_id, "The key is rotated", ("API key", created.secret), note)


@pages.post("/partners/{partner_id:int}/secrets/rotate", role=OperatorRole.OWNER, fresh=True)
async def rotate_secret(page: Page, partner_id: int) -> Response:
    """Add a signing secret, end the earlier ones after a while, and show the new one this once."""
    await get_partner(page, partner_id)
    try:
        async with page.db.begin_nested():
            secret = await partner_keys.rotate_signing_secret(
                page.db, page.resources.vault, partner_id, overlap=_overlap(page)
            )
    except CORRECTABLE as error:
        form = Form(KEY_FIELDS, form_of(KEY_FIELDS, DEFAULTS).values, fault=str(error))
        return await _show(page, partner_id, form, status=422)
    note = "Until the previous secrets end, each webhook has a signature of each of them."
    return await _show_once(page, partner_id, "The secret is rotated", ("Signing secret", secret), note)


@pages.post("/partners/{partner_id:int}/keys/{key_id:int}/retire", role=OperatorRole.OWNER, fresh=True)
async def retire_key(page: Page, partner_id: int, key_id: int) -> Response:
    """End the validity of a key now."""
    return await _change(page, partner_id, key_id, api_keys.retire)


@pages.post("/partners/{partner_id:int}/keys/{key_id:int}/sign", role=OperatorRole.OWNER, fresh=True)
async def sign_with_key(page: Page, partner_id: int, key_id: int) -> Response:
    """Have a key sign the bodies of webhooks from now on."""
    return await _change(page, partner_id, key_id, api_keys.mark_for_signing)


async def _change(
    page: Page, partner_id: int, key_id: int, change: Callable[..., Awaitable[object]]
) -> Response:
    if key_id > MAX_ID:
        raise NotFound("Key not found.")
    await get_partner(page, partner_id)
    try:
        async with page.db.begin_nested():
            await change(page.db, partner_id, key_id)
    except CORRECTABLE as error:
        form = Form(KEY_FIELDS, form_of(KEY_FIELDS, DEFAULTS).values, fault=str(error))
        return await _show(page, partner_id, form, status=422)
    page.resources.known_keys.forget()
    return page.redirect(f"{partner_path(partner_id)}/keys", done="saved")


async def _show(page: Page, partner_id: int, form: Form, *, status: int = 200) -> Response:
    partner = await get_partner(page, partner_id)
    return page.show(
        "partner_keys.html",
        status=status,
        partner=partner,
        trail=partner_trail(partner),
        form=form,
        path=f"{partner_path(partner_id)}/keys",
        keys=await api_keys.list_keys(page.db, partner_id),
        signing=await api_keys.signing_key_id(page.db, partner_id),
        secrets=await partner_keys.list_signing_secrets(page.db, partner_id),
        is_valid=partner_keys.is_valid,
        overlaps=[(value, words) for value, (words, _) in OVERLAPS.items()],
    )


async def _show_once(
    page: Page, partner_id: int, heading: str, secret: tuple[str, str], note: str = ""
) -> Response:
    partner = await get_partner(page, partner_id)
    return page.show(
        "secret_once.html",
        section="/partners",
        heading=heading,
        trail=partner_trail(partner),
        secrets=[secret],
        note=note,
        next=(f"{partner_path(partner_id)}/keys", "To the keys"),
    )


def _overlap(page: Page) -> timedelta:
    _, overlap = OVERLAPS.get(page.field("overlap"), OVERLAPS["1d"])
    return overlap
