"""Partners, connections and providers in the dashboard: forms, secrets shown once, roles, and deletion."""

from __future__ import annotations

import html
import re

import pytest
from sqlalchemy import func, select, update

from superimap.api.dashboard import MODULES
from superimap.core.crypto import Place
from superimap.db.accounts import api_keys, connections, partners, providers, users, webhook_endpoints
from superimap.db.models import AuditEntry, Connection, DashboardSession, Endpoint, Partner, Provider, User
from superimap.domain.events import EventKind
from superimap.domain.operators import OperatorRole
from tests.support.api import ApiWorld
from tests.support.dashboard import Browser, signed_in

ACCOUNT_MODULES = [each for each in MODULES if "partner" in each.__name__ or "mailbox_" in each.__name__] + [
    each for each in MODULES if "provider" in each.__name__ or "connections" in each.__name__
]
PATH_VALUES = {"partner_id": 1, "connection_id": 1, "user_id": 1, "key_id": 1, "code": "PLAIN"}
CLIENT = {"oauth2_client_id": "1234.apps", "oauth2_client_secret": "s3cret"}


def secrets_of(text: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(r'<code class="secret"[^>]*>([^<]+)</code>', text)]


async def partner_id(world: ApiWorld, name: str = "acme") -> int:
    async with world.sessionmaker.begin() as db:
        found = await partners.by_name(db, name)
        assert found is not None
        return found.id


async def connection_id(world: ApiWorld, code: str = "GMAIL_OAUTH2") -> int:
    """Connect acme to a provider."""
    acme = await partner_id(world)
    async with world.sessionmaker.begin() as db:
        provider = await providers.by_code(db, code)
        fields = CLIENT if code == "GMAIL_OAUTH2" else {}
        linked = await connections.create(db, world.vault, acme, provider, fields)
        return linked.connection.id


async def client_secret(world: ApiWorld, row: int) -> str:
    async with world.sessionmaker.begin() as db:
        found = await db.get_one(Connection, row)
        place = Place("connections", "oauth2_client_secret", found.partner_id, str(row))
        return world.vault.open_text(found.oauth2_client_secret, place)


async def no_longer_confirmed(world: ApiWorld) -> None:
    async with world.sessionmaker.begin() as db:
        await db.execute(
            update(DashboardSession).values(stepped_up_at=func.now() - func.make_interval(0, 0, 0, 1))
        )


async def test_a_partner_is_added_edited_and_deleted_with_its_typed_name(world):
    owner = await signed_in(world)
    wrong = {
        "name": "initech",
        "new_mail_webhook": "ftp://x",
        "return_origins": "https://a.example\n\nhttps://b.example",
    }

    refused = await owner.post("/partners/new", wrong, page="/partners/new")
    made = await owner.post(
        "/partners/new", wrong | {"new_mail_webhook": "https://x.example/hook"}, page="/partners/new"
    )

    assert (refused.status_code, 'value="ftp://x"' in refused.text) == (422, True)
    assert re.search(r'id="new_mail_webhook-fault">Must', refused.text)
    api_key, signing_secret = secrets_of(made.text)
    assert signing_secret.startswith("whsec_")
    assert (await world.client(api_key).get("/api/v1/connections")).status_code == 200
    row = await partner_id(world, "initech")
    assert api_key not in (await owner.get(f"/partners/{row}/keys")).text

    fields = {
        "name": "Initech 2",
        "new_mail_webhook": "https://x.example/hook",
        "return_origins": "https://b.example",
    }
    taken = await owner.post(f"/partners/{row}/edit", fields | {"name": "ACME"}, page=f"/partners/{row}/edit")
    saved = await owner.post(f"/partners/{row}/edit", fields, page=f"/partners/{row}/edit")
    assert (taken.status_code, saved.headers["location"]) == (422, f"/admin/partners/{row}?done=saved")
    async with world.sessionmaker.begin() as db:
        changed = await db.get_one(Partner, row)
        last = (await db.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()))).first()
    assert (changed.name, changed.return_origins) == ("Initech 2", ["https://b.example"])
    assert (last.action, last.actor, sorted(last.fields)) == (
        "partner.update", "owner@example.com", ["name", "return_origins"],
    )  # fmt: skip

    mistyped = await owner.post(
        f"/partners/{row}/delete", {"name": "initech"}, page=f"/partners/{row}/delete"
    )
    deleted = await owner.post(
        f"/partners/{row}/delete", {"name": "Initech 2"}, page=f"/partners/{row}/delete"
    )
    assert (mistyped.status_code, deleted.headers["location"]) == (422, "/admin/partners?done=deleted")
    assert (await owner.get(f"/partners/{row}")).status_code == 404


async def test_more_mailboxes_than_a_page_can_delete_are_left_to_the_command_line(world, monkeypatch):
    owner = await signed_in(world)
    acme, linked = await partner_id(world), await connection_id(world)
    async with world.sessionmaker.begin() as db:
        found = await connections.by_code(db, acme, "GMAIL_OAUTH2")
        for tag in ("ada", "bob"):
            user = await users.create(db, world.vault, found, {"tag": tag})
            await users.archive(
                db, world.vault, found, await users.by_tag(db, found.connection, user.tag, lock=True)
            )
    monkeypatch.setattr("superimap.api.dashboard.views.partner_form.MAX_DELETED_USERS", 1)
    monkeypatch.setattr("superimap.api.dashboard.views.connections.MAX_COUNT", 1)

    for path, fields, command in (
        (f"/partners/{acme}/delete", {"name": "acme"}, f"superimap partners delete {acme}"),
        (
            f"/partners/{acme}/connections/{linked}/delete",
            {"code": "GMAIL_OAUTH2"},
            "superimap connections delete",
        ),
    ):
        assert command in (await owner.get(path)).text
        assert (await owner.post(path, fields, page="/partners")).status_code == 409, path


async def test_keys_are_added_rotated_and_retired_by_owners_who_confirmed_who_they_are(world):
    owner = await signed_in(world)
    row = await partner_id(world)
    keys = f"/partners/{row}/keys"
    reader = {"name": "reader", "scope_read": "on", "networks": "192.0.2.0/24", "expires_at": "2999-12-31"}

    bad = await owner.post(keys, reader | {"networks": "nowhere"}, page=keys)
    added = await owner.post(keys, reader, page=keys)
    rotated = await owner.post(f"{keys}/rotate", {"overlap": "0"}, page=keys)
    secret = await owner.post(f"/partners/{row}/secrets/rotate", {"overlap": "1d"}, page=keys)

    assert (bad.status_code, "networks-fault" in bad.text) == (422, True)
    assert [len(secrets_of(each.text)) for each in (added, rotated, secret)] == [1, 1, 1]
    assert (await world.client(world.acme).get("/api/v1/connections")).status_code == 401
    assert (await world.client(secrets_of(rotated.text)[0]).get("/api/v1/connections")).status_code == 200
    async with world.sessionmaker.begin() as db:
        _, named, signing = await api_keys.list_keys(db, row)
    assert (named.scopes, named.networks, named.expires_at.isoformat()) == (
        ["read"], ["192.0.2.0/24"], "2999-12-31T23:59:59+00:00",
    )  # fmt: skip

    only = await owner.post(f"{keys}/{signing.id}/retire", page=keys)
    retired = await owner.post(f"{keys}/{named.id}/retire", page=keys)
    foreign = await owner.post(
        f"/partners/{await partner_id(world, 'globex')}/keys/{signing.id}/retire", page=keys
    )
    assert [only.status_code, retired.status_code, foreign.status_code] == [422, 303, 404]
    assert "have another key sign first" in only.text

    await no_longer_confirmed(world)
    assert 'action="/admin/partners/' not in (await owner.get(keys)).text
    assert 'name="title"' not in (await owner.get("/providers/PLAIN/edit")).text
    unconfirmed = await owner.post(keys, reader | {"back": keys}, page=keys)
    assert unconfirmed.headers["location"] == f"/admin/confirm?next=%2Fpartners%2F{row}%2Fkeys"


async def test_quotas_are_set_and_returned_to_the_default(world):
    operator = await signed_in(world, OperatorRole.OPERATOR)
    path = f"/partners/{await partner_id(world)}/quotas"

    saved = await operator.post(path, {"users": "5"}, page=path)
    zero = await operator.post(path, {"users": "0"}, page=path)
    word = await operator.post(path, {"users": "many"}, page=path)
    shown = await operator.get(path)
    reset = await operator.post(path, {"users": ""}, page=path)

    assert [each.status_code for each in (saved, zero, word, reset)] == [303, 422, 422, 303]
    assert ('value="5"' in shown.text, ">own<" in shown.text) == (True, True)
    assert ">own<" not in (await operator.get(path)).text


async def test_the_secret_of_a_connection_is_never_shown_and_stays_unless_it_is_replaced(world):
    operator = await signed_in(world, OperatorRole.OPERATOR)
    acme = await partner_id(world)
    new = f"/partners/{acme}/connections/new?provider=GMAIL_OAUTH2"

    incomplete = await operator.post(new, {"oauth2_client_id": "1234.apps"}, page=new)
    made = await operator.post(new, CLIENT, page=new)
    path = made.headers["location"].removeprefix("/admin").partition("?")[0]
    row = int(path.rpartition("/")[2])
    shown = (await operator.get(path)).text + (await operator.get(f"{path}/edit")).text

    assert (incomplete.status_code, "oauth2_client_secret-fault" in incomplete.text) == (422, True)
    assert ("s3cret" in shown, 'placeholder="unchanged"' in shown, "1234.apps" in shown) == (
        False,
        True,
        True,
    )

    kept = await operator.post(f"{path}/edit", CLIENT | {"oauth2_client_secret": ""}, page=f"{path}/edit")
    other = await operator.post(
        f"{path}/edit", {"oauth2_client_id": "5678", "oauth2_client_secret": ""}, page=f"{path}/edit"
    )
    assert kept.headers["location"].endswith("?done=unchanged")
    assert (other.status_code, "oauth2_client_secret-fault" in other.text) == (422, True)
    assert await client_secret(world, row) == "s3cret"
    replaced = await operator.post(
        f"{path}/edit", {"oauth2_client_id": "5678", "oauth2_client_secret": "other"}, page=f"{path}/edit"
    )
    assert (replaced.status_code, await client_secret(world, row)) == (303, "other")

    again = await operator.post(new, CLIENT, page=new)
    globex = await partner_id(world, "globex")
    foreign = await operator.get(f"/partners/{globex}/connections/{row}")
    deleted = await operator.post(f"{path}/delete", {"code": "GMAIL_OAUTH2"}, page=f"{path}/delete")
    assert (again.status_code, foreign.status_code, deleted.status_code) == (422, 404, 303)


async def test_a_provider_whose_server_changes_asks_what_becomes_of_stored_secrets(world):
    owner = await signed_in(world)
    linked = await connection_id(world, "PLAIN")
    async with world.sessionmaker.begin() as db:
        found = await connections.by_code(db, await partner_id(world), "PLAIN")
        fields = {"tag": "ada", "login_username": "ada", "login_password": "pw"}
        user = await users.create(db, world.vault, found, fields)
    edit = "/providers/PLAIN/edit"
    present = {"code": "PLAIN", "title": "Test", "kind": "PLAIN", "imap_host": "localhost", "imap_port": "10143",
               "imap_tls": "tls", "smtp_tls": "starttls"}  # fmt: skip

    async def has_password() -> bool:
        async with world.sessionmaker.begin() as db:
            return bool(await db.scalar(select(func.has_login_password(user.id))))

    renamed = await owner.post(edit, present | {"title": "Mail"}, page=edit)
    port = await owner.post(edit, present | {"imap_port": "0"}, page=edit)
    asked = await owner.post(edit, present | {"imap_host": "imap.example.com"}, page=edit)
    assert [renamed.status_code, port.status_code, asked.status_code] == [303, 422, 422]
    assert ("imap_port-fault" in port.text, "stored_secrets-fault" in asked.text) == (True, True)
    assert "The secrets of 1 mailbox and" in asked.text
    assert await has_password()

    decided = present | {"imap_host": "imap.example.com", "stored_secrets": "forget"}
    forgotten = await owner.post(edit, decided, page=edit)
    used = await owner.post("/providers/PLAIN/delete", {"code": "PLAIN"}, page="/providers/PLAIN/delete")
    assert (forgotten.status_code, await has_password(), used.status_code) == (303, False, 409)
    assert linked

    unchanged = await owner.post(
        "/providers/GMAIL_OAUTH2/edit", await shown_values(owner, "GMAIL_OAUTH2"), page=edit
    )
    assert unchanged.headers["location"].endswith("done=unchanged")
    made = await owner.post(
        "/providers/new", present | {"code": "acme", "imap_host": "imap.acme.example"}, page="/providers/new"
    )
    taken = await owner.post("/providers/new", present | {"code": "ACME"}, page="/providers/new")
    gone = await owner.post("/providers/ACME/delete", {"code": "ACME"}, page="/providers/ACME/delete")
    assert made.headers["location"] == "/admin/providers/ACME?done=created"
    assert (taken.status_code, "code-fault" in taken.text, gone.status_code) == (422, True, 303)


async def shown_values(browser: Browser, code: str) -> dict[str, str]:
    """The values that the form of a provider shows."""
    text = (await browser.get(f"/providers/{code}/edit")).text
    inputs = re.findall(r'<input +id="(\w+)" name="\w+"[^>]*? type="text" value="([^"]*)"', text)
    choices = re.findall(r'<select +id="(\w+)".*?value="([^"]*)" selected', text)
    return {name: html.unescape(value) for name, value in [*inputs, *choices]}


def _requests(method: str) -> list[str]:
    """Paths of all account pages with this method, with the ids of rows that exist."""
    return [
        re.sub(r"\{(\w+)(:int)?\}", lambda name: str(PATH_VALUES[name[1]]), route.path)
        for module in ACCOUNT_MODULES
        for route in module.pages.routes
        if method in route.methods
    ]


async def test_a_viewer_sees_pages_without_buttons_and_can_send_no_form(world):
    viewer = await signed_in(world, OperatorRole.VIEWER)
    await connection_id(world)
    async with world.sessionmaker.begin() as db:
        await db.execute(update(Endpoint).values(url="https://app.example/hook?token=hidden"))
    token = await viewer.token("/partners")

    for path in _requests("POST"):
        answer = await viewer.client.post(path, data={"form": token, "name": "acme", "code": "PLAIN"})
        is_of_portals = path.startswith("/portal/")  # in which no operator has a session
        assert answer.status_code == (401 if is_of_portals else 403), path
    shown = [path for path in _requests("GET") if (await viewer.client.get(path)).status_code == 200]
    assert sorted(shown) == [
        "/admin/partners", "/admin/partners/1", "/admin/partners/1/connections",
        "/admin/partners/1/connections/1", "/admin/providers", "/admin/providers/PLAIN",
    ]  # fmt: skip
    for path in shown:
        text = (await viewer.client.get(path)).text
        assert "token=hidden" not in text, path  # a URL often holds one
        assert not re.search(r'class="button|href="[^"]*/(edit|new|delete|keys|quotas)"', text), path


async def test_an_operator_may_change_neither_keys_nor_providers(world):
    operator = await signed_in(world, OperatorRole.OPERATOR)
    token = await operator.token("/partners")

    for path in _requests("POST"):
        if "/keys" in path or "/secrets" in path or "/providers" in path:
            assert (await operator.client.post(path, data={"form": token})).status_code == 403, path


async def test_hostile_names_and_texts_are_shown_as_text_and_survive_an_edit(world):
    operator = await signed_in(world, OperatorRole.OPERATOR)
    row = await connection_id(world, "PLAIN")
    acme = await partner_id(world)
    hostile = "<script>alert(1)</script>"
    reversed_tag = f"a\u202e{hostile.replace('/', '')}"
    async with world.sessionmaker.begin() as db:
        await partners.update(db, acme, name=hostile, new_mail_webhook="https://x.example/?" + "q" * 1900)
        linked = await connections.by_code(db, acme, "PLAIN")
        user = await users.create(db, world.vault, linked, {"tag": reversed_tag, "email": f"{hostile}@x"})
        await db.execute(update(User).values(status_reason=hostile * 400))

    paths = ["/partners", f"/partners/{acme}", f"/partners/{acme}/edit", f"/partners/{acme}/connections/{row}",
             f"/partners/{acme}/delete", f"/mailboxes/{user.id}/edit", f"/mailboxes/{user.id}/connect-link",
             ]  # fmt: skip
    for path in paths:
        text = (await operator.get(path)).text
        assert (hostile in text, "\u202e" in text, html.escape(hostile) in text) == (False, False, True), path

    shown = {"tag": "a⟨U+202E⟩" + hostile.replace("/", ""), "email": f"{hostile}@x", "login_username": "ada"}
    edit = f"/mailboxes/{user.id}/edit"
    assert (await operator.post(edit, shown, page=edit)).status_code == 303
    async with world.sessionmaker.begin() as db:
        found = await db.get_one(User, user.id)
        urls = await webhook_endpoints.urls_by_kind(db, acme)
    assert (found.tag, found.login_username) == (reversed_tag, "ada")
    assert len(urls[EventKind.NEW_MAIL] or "") > 1900


@pytest.mark.parametrize("path", ["/partners/{}", "/mailboxes/{}/edit", "/partners/1/connections/{}"])
async def test_a_number_that_is_no_id_is_not_found(world, path):
    owner = await signed_in(world)

    assert (await owner.get(path.format(10**30))).status_code == 404


async def test_lists_are_paged_by_name(world: ApiWorld, monkeypatch):
    viewer: Browser = await signed_in(world, OperatorRole.VIEWER)
    monkeypatch.setattr("superimap.api.dashboard.views.partners.PAGE_ROWS", 1)

    first = await viewer.get("/partners")
    link = re.search(r'href="/admin(/partners\?after=\d+)"', first.text)
    second = await viewer.client.get(f"/admin{link[1]}")
    filtered = await viewer.get("/partners", name="GLOB")

    assert [("acme" in each.text, "globex" in each.text) for each in (first, second, filtered)] == [
        (True, False), (False, True), (False, True),
    ]  # fmt: skip
    async with world.sessionmaker.begin() as db:
        assert await db.scalar(select(func.count()).select_from(Provider)) == 2


async def test_numbers_and_names_that_nothing_can_have_are_not_found(world):
    owner = await signed_in(world)
    huge = 2**63

    shown = [await owner.get(path) for path in (f"/partners/{huge}/quotas", f"/jobs/{huge}")]
    sent = [
        await owner.post(path, page="/account")
        for path in (f"/partners/{huge}/portal", f"/jobs/{huge}/cancel")
    ]

    assert {each.status_code for each in (*shown, *sent)} == {404}
    assert (await owner.get("/audit", partner="a\0b")).status_code == 200
    ended = await owner.post("/account/sessions/end", {"session": "a\0b"}, page="/account")
    assert ended.status_code == 303
