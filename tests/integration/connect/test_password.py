"""Connecting by password: the form, the login that checks it, and the errors."""

from __future__ import annotations

import logging
import time

import httpx
import pytest
import trustme

from superimap.api.pages import browser
from superimap.api.routes import password
from superimap.db.accounts import link_usage
from superimap.oauth import links
from superimap.testing.imap.hooks import hanging
from tests.integration.connect.conftest import ANN, APP, Scene, hidden_fields, result_of
from tests.support import tls

FORM = "/users/connect/password"


async def open_form(scene: Scene, http: httpx.AsyncClient, **fields: str) -> dict[str, str]:
    """Return the hidden fields of the form behind a new link."""
    shown = await scene.user("GMAIL", **fields)
    answer = await http.get(shown["connect_url"])
    assert answer.status_code == 200, answer.text
    return hidden_fields(answer.text)


async def test_a_correct_password_connects_the_user(scene):
    async with scene.browser() as http:
        form = await open_form(scene, http)
        answer = await http.post(FORM, data={**form, "username": f" {ANN} ", "password": "right horse"})

    assert answer.headers["location"].startswith(f"{APP}/ok?page=1&")
    assert result_of(answer)["superimap_result"] == "success"
    assert await scene.secret("login_password") == "right horse"
    (user,) = await scene.rows("SELECT * FROM users")
    assert (user["login_username"], user["email"], user["status"]) == (ANN, ANN, "connecting")
    (event,) = await scene.delivery_contents()
    assert (event["kind"], event["email"]) == ("user_connected", ANN)
    assert len(scene.rung) == 1
    assert scene.imap.logins == 1


async def test_connecting_again_resolves_a_reported_refused_login(scene):
    await scene.user("GMAIL", email=ANN, login_username=ANN, login_password="old horse")
    await scene.rows("UPDATE users SET reauth = 'required', status = 'authentication_failed'")
    await scene.rows("UPDATE endpoints SET url = $1 WHERE kind = 'events'", f"{APP}/events")
    async with scene.browser() as http:
        page = await http.get((await scene.read_user("GMAIL"))["connect_url"])
        form = {**hidden_fields(page.text), "username": ANN, "password": "right horse"}
        await http.post(FORM, data=form)
        await http.post(FORM, data=form)  # which is too late: the link is used

    deliveries = await scene.rows("SELECT v.kind FROM deliveries d JOIN user_events v ON v.id = d.event_id")
    assert [row["kind"] for row in deliveries] == ["restored"]
    (user,) = await scene.rows("SELECT * FROM users")
    assert (user["reauth"], user["status"]) == (None, "connecting")


async def test_the_form_is_accessible(scene):
    async with scene.browser() as http:
        shown = await scene.user("GMAIL", email=ANN)
        answer = await http.get(shown["connect_url"])

    assert "Acme &lt;b&gt;Mail&lt;/b&gt;" in answer.text
    assert f'value="{ANN}"' in answer.text
    for name in ("username", "password"):
        assert f'<label for="{name}">' in answer.text
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert 'lang="en"' in answer.text
    assert "App passwords" in answer.text


async def test_45_the_form_cannot_be_framed_and_leads_only_to_us_and_the_partner(scene):
    async with scene.browser() as http:
        shown = await scene.user("GMAIL")
        answer = await http.get(shown["connect_url"])

    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert f"form-action 'self' {APP}" in policy
    assert "default-src 'none'" in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("spoil", ["no token", "old token", "other browser", "no cookie", "other link"])
async def test_46_a_form_from_another_site_is_403(scene, spoil, monkeypatch):
    async with scene.browser() as http, scene.browser() as other:
        form, sender = await open_form(scene, http), http
        typed = {"username": ANN, "password": "right horse"}
        match spoil:
            case "no token":
                form.pop("token")
            case "old token":
                monkeypatch.setattr("superimap.api.pages.browser.COOKIE_LIFETIME_SECONDS", -1)
            case "other browser":
                await other.get((await scene.read_user("GMAIL"))["connect_url"])
                sender = other
            case "no cookie":
                sender = other
            case "other link":
                bob = await scene.user("GMAIL", tag="bob")
                form |= {name: value[0] for name, value in _query(bob["connect_url"]).items()}

        answer = await sender.post(FORM, data={**form, **typed})

    assert answer.status_code == 403
    assert "not opened in this browser" in answer.text
    assert scene.imap.logins == 0


def _query(url: str) -> dict[str, list[str]]:
    from urllib.parse import parse_qs, urlsplit

    return parse_qs(urlsplit(url).query)


async def assert_refused(scene: Scene, answer: httpx.Response, text: str) -> None:
    """Assert that the form is shown again with this sentence, and that nothing was stored."""
    assert answer.status_code == 422, answer.text
    assert 'role="alert"' in answer.text
    assert text in answer.text.replace("&#39;", "'")
    assert await scene.rows("SELECT 1 FROM users WHERE connected_at IS NOT NULL") == []


async def test_a_wrong_password_is_explained_and_can_be_corrected(scene, caplog):
    caplog.set_level(logging.DEBUG)
    async with scene.browser() as http:
        form = await open_form(scene, http)
        wrong = await http.post(FORM, data={**form, "username": ANN, "password": "battery-staple"})
        right = await http.post(
            FORM, data={**hidden_fields(wrong.text), "username": ANN, "password": "right horse"}
        )

    assert wrong.status_code == 422
    assert "does not accept this user name and password" in wrong.text
    assert "not your usual one" in wrong.text
    assert "App passwords" in wrong.text
    assert "battery-staple" not in wrong.text
    assert result_of(right)["superimap_result"] == "success"
    logged = "\n".join(str(vars(each)) for each in caplog.records)
    assert "battery-staple" not in logged
    assert "right horse" not in logged


async def test_an_unreachable_server_is_reported(scene):
    await scene.imap.refuse()
    async with scene.browser() as http:
        form = await open_form(scene, http)
        answer = await http.post(FORM, data={**form, "username": ANN, "password": "right horse"})

    await assert_refused(scene, answer, "is not responding")


async def test_a_hanging_server_is_abandoned_after_the_timeout(scene, monkeypatch):
    monkeypatch.setattr(password, "LOGIN_TIMEOUT_SECONDS", 0.2)
    scene.imap.on("LOGIN", hanging())
    async with scene.browser() as http:
        form = await open_form(scene, http)
        answer = await http.post(FORM, data={**form, "username": ANN, "password": "right horse"})

    await assert_refused(scene, answer, "is not responding")


async def test_a_forbidden_server_is_reported_like_an_unreachable_one(scene):
    scene.forbid_loopback()
    async with scene.browser() as http:
        form = await open_form(scene, http)
        answer = await http.post(FORM, data={**form, "username": ANN, "password": "right horse"})

    await assert_refused(scene, answer, "is not responding")
    assert scene.imap.connects == 0


@pytest.mark.parametrize(
    ("username", "secret", "text"),
    [
        (f"{ANN}\r\nA1 LOGOUT", "x", "control characters"),
        (ANN, "x\r\nA1 LOGOUT", "control characters"),
        (ANN, "x\0y", "control characters"),
        ("", "x", "The user name is missing"),
        (ANN, " ", "The password is missing"),
        (ANN, "x" * 5000, "at most 4096 characters"),
    ],
)
async def test_invalid_credentials_are_not_sent_to_the_server(scene, username, secret, text):
    async with scene.browser() as http:
        form = await open_form(scene, http)
        answer = await http.post(FORM, data={**form, "username": username, "password": secret})

    await assert_refused(scene, answer, text)
    assert scene.imap.logins + scene.imap.failed_logins == 0


async def test_an_address_other_than_the_expected_one_is_not_tried(scene):
    async with scene.browser() as http:
        form = await open_form(scene, http, email="bob@example.com")
        answer = await http.post(FORM, data={**form, "username": ANN, "password": "right horse"})

    await assert_refused(scene, answer, "must be bob@example.com")
    assert scene.imap.logins == 0


async def test_17_a_link_allows_five_tries(scene):
    async with scene.browser() as http:
        form = await open_form(scene, http)
        answers = [
            await http.post(FORM, data={**form, "username": ANN, "password": f"guess {number}"})
            for number in range(6)
        ]

    assert [answer.status_code for answer in answers] == [422] * 5 + [429]
    assert scene.imap.failed_logins == 5


async def test_an_incomplete_submission_does_not_count_as_a_try(scene):
    async with scene.browser() as http:
        form = await open_form(scene, http)
        for _ in range(11):
            await assert_refused(
                scene, await http.post(FORM, data={**form, "username": ANN}), "password is missing"
            )
        answer = await http.post(FORM, data={**form, "username": ANN, "password": "right horse"})

    assert result_of(answer)["superimap_result"] == "success"


async def test_17_an_address_allows_ten_tries_a_minute_across_all_links(scene):
    statuses = []
    async with scene.browser() as http:
        for number in range(3):
            form = await open_form(scene, http, tag=f"user{number}")
            for _ in range(4):
                answer = await http.post(FORM, data={**form, "username": ANN, "password": "guess"})
                statuses.append(answer.status_code)

        assert statuses == [422] * 10 + [429] * 2
        assert answer.headers["retry-after"] == "60"
        await scene.rows("UPDATE login_tries SET ends_at = now() - interval '1 second'")
        answer = await http.post(FORM, data={**form, "username": ANN, "password": "right horse"})

    assert result_of(answer)["superimap_result"] == "success"


@pytest.mark.parametrize(("seconds", "status"), [(300, 303), (60, 303), (-60, 303), (301, 403), (-3601, 403)])
async def test_a_form_of_a_machine_whose_clock_differs_is_accepted(scene, monkeypatch, seconds, status):
    """Positive: the clock of the machine that made the form is ahead."""
    now = time.time()
    async with scene.browser() as http:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(browser.time, "time", lambda: now + seconds)
            form = await open_form(scene, http)
        monkeypatch.setattr(browser.time, "time", lambda: now)
        monkeypatch.setattr("superimap.oauth.links.LIFETIME_SECONDS", 7200)

        answer = await http.post(FORM, data={**form, "username": ANN, "password": "right horse"})

    assert answer.status_code == status, answer.text


def test_a_used_link_is_remembered_while_any_form_of_it_may_be_accepted():
    """Of machines whose clocks differ by five minutes each way."""
    link = links.LIFETIME_SECONDS + links.CLOCK_SKEW_SECONDS
    form = browser.COOKIE_LIFETIME_SECONDS + links.CLOCK_SKEW_SECONDS

    assert link_usage.USED_LINK_RETENTION.total_seconds() > link + form


async def test_an_open_form_outlives_its_link_but_works_only_once(scene, monkeypatch):
    async with scene.browser() as http:
        form = await open_form(scene, http)
        monkeypatch.setattr("superimap.oauth.links.LIFETIME_SECONDS", -1)
        typed = {**form, "username": ANN, "password": "right horse"}
        first, second = await http.post(FORM, data=typed), await http.post(FORM, data=typed)

    assert result_of(first)["superimap_result"] == "success"
    assert second.status_code == 410


async def test_an_invalid_certificate_is_reported_and_the_password_not_sent(scene):
    from superimap.testing import ImapServer

    async with ImapServer(tls=tls.server_context(trustme.CA())) as server, scene.browser() as http:
        await scene.rows(
            "UPDATE providers SET imap_host = 'localhost', imap_port = $1, imap_tls = 'tls'"
            " WHERE code = 'GMAIL'",
            server.port,
        )
        form = await open_form(scene, http)
        answer = await http.post(FORM, data={**form, "username": ANN, "password": "right horse"})

    await assert_refused(scene, answer, "certificate")
    assert server.logins + server.failed_logins == 0
