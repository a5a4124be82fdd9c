"""Mailboxes of a connection in the dashboard: lists, forms, archive and restore, and links for people."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import func, select, update

from superimap.core.crypto import Place
from superimap.db.accounts import connections, partners, providers, users
from superimap.db.models import User
from superimap.db.monitoring import mailbox_lists
from superimap.db.monitoring.mailbox_lists import MailboxFilter, MailboxScope
from superimap.domain.operators import OperatorRole
from tests.support.api import ApiWorld
from tests.support.dashboard import signed_in

CLIENT = {"oauth2_client_id": "1234.apps", "oauth2_client_secret": "s3cret"}


async def connected(world: ApiWorld, code: str = "PLAIN", *people: dict[str, Any]) -> tuple[str, list[int]]:
    """Connect acme to a provider, with these users; returns the path of the connection and the users' ids."""
    async with world.sessionmaker.begin() as db:
        acme = await partners.by_name(db, "acme")
        provider = await providers.by_code(db, code)
        linked = await connections.create(db, world.vault, acme.id, provider, CLIENT)
        found = [(await users.create(db, world.vault, linked, each)).id for each in people]
        return f"/partners/{acme.id}/connections/{linked.connection.id}", found


async def stored(world: ApiWorld, user_id: int, *names: str) -> list[Any]:
    async with world.sessionmaker.begin() as db:
        row = (
            await db.execute(select(*(getattr(User, name) for name in names)).where(User.id == user_id))
        ).one()
        return list(row)


async def password(world: ApiWorld, user_id: int) -> str | None:
    partner, sealed = await stored(world, user_id, "partner_id", "login_password")
    place = Place("users", "login_password", partner, str(user_id))
    return None if sealed is None else world.vault.open_text(sealed, place)


async def test_scopes_filters_and_pages_show_each_mailbox_once(world, monkeypatch):
    people = [{"tag": f"tag{n}", "email": f"{'ab'[n % 2]}{n}@x" if n < 8 else None} for n in range(12)]
    path, ids = await connected(world, "PLAIN", *people)
    async with world.sessionmaker.begin() as db:
        await db.execute(update(User).where(User.id == ids[2]).values(archived=True, status="archived"))
        await db.execute(update(User).where(User.id == ids[9]).values(enable_tracer=True))
    viewer = await signed_in(world, OperatorRole.VIEWER)
    monkeypatch.setattr("superimap.api.dashboard.mailbox_list.PAGE_ROWS", 3)

    async def listed(looked: int, **query: str) -> list[str]:
        monkeypatch.setattr(mailbox_lists, "LOOKED_ROWS", looked)
        tags, page = [], await viewer.get(path, **query)
        while True:
            tags += re.findall(r'data-name="Tag"><a [^>]*>(\w+)</a>', page.text)
            more = re.search(r'href="([^"#]*after=\d+[^"#]*)#mailboxes">(?:More|Look)', page.text)
            if more is None:
                return tags
            page = await viewer.client.get(more[1].replace("&amp;", "&"))

    active = [f"tag{n}" for n in (0, 4, 6, 1, 3, 5, 7, 8, 9, 10, 11)]
    for looked in (2, 3, 4, 2000):  # also where a page looks at fewer than it may show
        assert await listed(looked) == active
        assert await listed(looked, scope="archived") == ["tag2"]
        assert await listed(looked, scope="tracer") == ["tag9"]
        assert await listed(looked, email="B") == []
        assert await listed(looked, email="b") == ["tag1", "tag3", "tag5", "tag7"]
        assert await listed(looked, tag="tag1") == ["tag1", "tag10", "tag11"]
    assert "Archived (1)" in (await viewer.get(path)).text


async def test_mailboxes_of_a_status_are_listed_with_the_longest_first(world, monkeypatch):
    people = [{"tag": f"tag{n}", "email": f"{n}@x"} for n in range(5)]
    path, ids = await connected(world, "PLAIN", *people)
    minutes = {ids[0]: 3, ids[1]: 1, ids[3]: 3}  # two of them since the same moment
    async with world.sessionmaker.begin() as db:
        for user_id, ago in minutes.items():
            since = func.now() - func.make_interval(0, 0, 0, 0, 0, ago)
            values = {
                "status": "authentication_failed",
                "status_since": since,
                "status_reason": "<b>refused</b>",
            }
            await db.execute(update(User).where(User.id == user_id).values(values))
    viewer = await signed_in(world, OperatorRole.VIEWER)
    monkeypatch.setattr("superimap.api.dashboard.mailbox_list.PAGE_ROWS", 1)

    tags, page = [], await viewer.get(path, status="authentication_failed")
    assert "Must sign in again (3)" in page.text
    assert ("<b>refused" in page.text, "&lt;b&gt;refused" in page.text) == (False, True)
    while True:
        tags += re.findall(r'data-name="Tag"><a [^>]*>(\w+)</a>', page.text)
        more = re.search(r'href="([^"#]*after=\d+[^"#]*)#mailboxes">More', page.text)
        if more is None:
            break
        page = await viewer.client.get(more[1].replace("&amp;", "&"))

    assert tags == ["tag0", "tag3", "tag1"]
    assert "No mailbox matches" in (await viewer.get(path, status="stalled")).text
    assert (await viewer.get(path, status="stalled", after="1", since="9" * 18)).status_code == 200


async def test_a_page_of_mailboxes_goes_on_behind_exactly_as_many_as_it_shows(world):
    path, _ = await connected(world, "PLAIN", {"tag": "a", "email": "a@x"}, {"tag": "b"})
    which = MailboxFilter(int(path.rpartition("/")[2]), MailboxScope.ACTIVE)

    async with world.sessionmaker.begin() as db:
        first = await mailbox_lists.list_page(db, which, limit=1)
        second = await mailbox_lists.list_page(db, which, after=first.next, limit=1)

    assert ([row.tag for row in first.rows], [row.tag for row in second.rows]) == (["a"], ["b"])
    assert second.next is None


async def test_a_mailbox_is_added_with_the_fields_of_its_provider_and_faults_are_beside_the_field(world):
    operator = await signed_in(world, OperatorRole.OPERATOR)
    path, _ = await connected(world)
    new = f"{path}/users/new"
    fields = {
        "tag": "ada",
        "email": "ada@x",
        "login_username": "ada",
        "login_password": " pw ",
        "history_days": "30",
        "change_events": "on",
        "enable_tracer": "on",
    }

    form = (await operator.get(new)).text
    blank = await operator.post(new, fields | {"tag": ""}, page=new)
    made = await operator.post(new, fields, page=new)
    taken = await operator.post(new, fields | {"email": ""}, page=new)

    assert ('name="login_password"' in form, 'name="oauth2_refresh_token"' in form) == (True, False)
    assert (blank.status_code, "tag-fault" in blank.text, " pw " in blank.text) == (422, True, False)
    user_id = int(re.fullmatch(r"/admin/mailboxes/(\d+)\?done=created", made.headers["location"])[1])
    assert await stored(world, user_id, "tag", "status", "enable_tracer") == ["ada", "connecting", True]
    edit = f"{path}/edit"
    assert (await operator.post(edit, {"history_days": "9000"}, page=edit)).status_code == 422
    assert (await operator.post(edit, {"history_days": "14"}, page=edit)).status_code == 303
    assert "14 days, read when a mailbox is connected" in (await operator.get(path)).text
    shown = (await operator.get(f"/mailboxes/{user_id}")).text
    assert "flags, moves and deletions of its mails" in shown
    own = f"/mailboxes/{user_id}/edit"
    assert (await operator.post(own, fields | {"change_events": "off"}, page=own)).status_code == 303
    assert await stored(world, user_id, "change_events") == [False]
    assert '<option value="off" selected>' in (await operator.get(own)).text
    assert "30 days</a>, read when it is connected" in (await operator.get(f"/mailboxes/{user_id}")).text
    assert "because the mailbox was connected" in (await operator.get(f"/mailboxes/{user_id}/sweeps")).text
    assert await password(world, user_id) == " pw "
    assert (taken.status_code, "tag-fault" in taken.text) == (422, True)


async def test_a_stored_password_stays_until_it_is_replaced_or_deleted(world):
    operator = await signed_in(world, OperatorRole.OPERATOR)
    ada = {"tag": "ada", "email": "ada@x", "login_username": "ada", "login_password": "first"}
    _, (user_id,) = await connected(world, "PLAIN", ada)
    edit = f"/mailboxes/{user_id}/edit"
    shown = {"tag": "ada", "email": "ada@x", "login_username": "ada", "login_password": ""}

    assert "first" not in (await operator.get(edit)).text
    renamed = await operator.post(edit, shown | {"tag": "ada2"}, page=edit)
    other_account = await operator.post(edit, shown | {"tag": "ada2", "login_username": "eve"}, page=edit)
    assert (renamed.status_code, other_account.status_code) == (303, 422)
    assert "must be entered again" in other_account.text.lower()
    assert await password(world, user_id) == "first"

    new = {"tag": "ada2", "login_username": "eve", "login_password": "second"}
    assert (await operator.post(edit, shown | new, page=edit)).status_code == 303
    assert await password(world, user_id) == "second"
    forget = {"tag": "ada2", "login_username": "eve", "forget_secret": "on"}
    assert (await operator.post(edit, shown | forget, page=edit)).status_code == 303
    assert (await password(world, user_id), await stored(world, user_id, "status")) == (
        None,
        ["not_connected"],
    )


async def test_archiving_restoring_and_the_links_of_a_mailbox(world):
    operator = await signed_in(world, OperatorRole.OPERATOR)
    ada = {"tag": "ada", "email": "ada@x"}
    path, (user_id,) = await connected(world, "GMAIL_OAUTH2", ada)
    mailbox = f"/mailboxes/{user_id}"

    archived = await operator.post(f"{mailbox}/archive", page=f"{mailbox}/edit")
    was_archived = await stored(world, user_id, "archived")
    made = await operator.post(f"{path}/users/new", ada, page=f"{path}/users/new")
    refused = await operator.post(f"{mailbox}/restore", page=f"{mailbox}/edit")
    async with world.sessionmaker.begin() as db:
        await db.execute(update(User).where(User.id != user_id).values(tag="other", email=None))
    restored = await operator.post(f"{mailbox}/restore", page=f"{mailbox}/edit")

    assert [each.status_code for each in (archived, made, refused, restored)] == [303, 303, 409, 303]
    assert (was_archived, await stored(world, user_id, "archived")) == ([True], [False])

    links = re.findall(
        r"http://testserver(/users/\w+/new\?[^<]+)<", (await operator.get(f"{mailbox}/connect-link")).text
    )
    for link in links:
        assert (await operator.client.get(link.replace("&amp;", "&"))).status_code == 200, link
    assert len(links) == 2


async def test_a_mailbox_without_a_server_of_its_provider_gets_one_that_may_be_dialled(world):
    operator = await signed_in(world, OperatorRole.OPERATOR)
    async with world.sessionmaker.begin() as db:
        await providers.create(db, code="OTHER", title="Other", imap_host="any.example", host_by_user=True)
    path, _ = await connected(world, "OTHER")
    new = f"{path}/users/new"
    fields = {"tag": "ada", "login_username": "ada", "login_password": "pw"}

    without = await operator.post(new, fields, page=new)
    bad = await operator.post(new, fields | {"imap_host": "a b"}, page=new)
    made = await operator.post(new, fields | {"imap_host": "mail.example", "imap_port": "143"}, page=new)

    assert [each.status_code for each in (without, bad, made)] == [422, 422, 303]
    assert all("imap_host-fault" in each.text for each in (without, bad))
    async with world.sessionmaker.begin() as db:
        user = (await db.execute(select(User.imap_host, User.imap_port, User.imap_tls))).one()
    assert tuple(user) == ("mail.example", 143, "starttls")


@pytest.mark.parametrize("column", ["login_password", "oauth2_refresh_token"])
async def test_pages_of_mailboxes_read_no_sealed_column(world, column):
    ada = {"tag": "ada", "email": "ada@x", "login_username": "ada", "login_password": "pw"}
    _, (user_id,) = await connected(world, "PLAIN", ada)
    async with world.sessionmaker.begin() as db:
        seen = await mailbox_lists.find(db, user_id)
        with pytest.raises(Exception, match="is not available"):
            getattr(seen.user, column)
        assert seen.has_secret
