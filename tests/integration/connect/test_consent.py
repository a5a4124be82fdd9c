"""Connecting by consent, and every invalid link or state."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from superimap.api.routes import connect
from tests.integration.connect.conftest import (
    ANN,
    APP,
    CALLBACK,
    connect_by_consent,
    consent,
    hidden_fields,
    press_continue,
    result_of,
)
from tests.support.api import served, settings_for

OTHER = "somebody.else@example.com"
CONSENT = "/users/connect/consent"


async def test_a_link_leads_through_consent_to_a_connected_user(scene):
    shown = await scene.user()

    async with scene.browser() as http:
        answer = await connect_by_consent(http, shown["connect_url"])

    assert answer.headers["location"].startswith(f"{APP}/ok?page=1&")
    assert result_of(answer) == {"page": "1", "superimap_result": "success", "user_tag": "ann"}
    after = await scene.read_user()
    assert after["email"] == ANN
    assert after["connected_at"] is not None
    user = (await scene.rows("SELECT * FROM users"))[0]
    assert user["status"] == "connecting"
    assert user["credentials_version"] == 2
    assert scene.provider.opens(await scene.secret("oauth2_access_token"), ANN)
    assert scene.provider.records.by_refresh(await scene.secret("oauth2_refresh_token"))
    (event,) = await scene.delivery_contents()
    assert (event["kind"], event["user_tag"], event["email"]) == ("user_connected", "ann", ANN)
    assert len(scene.rung) == 1
    assert await scene.rows("SELECT 1 FROM oauth_states") == []


async def test_the_authorization_request_has_pkce_state_nonce_and_hint_and_its_secrets_are_hashed(scene):
    shown = await scene.user(email=ANN)

    async with scene.browser() as http:
        opened = await press_continue(http, shown["connect_url"])

    asked = {name: value[0] for name, value in parse_qs(urlsplit(opened.headers["location"]).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert (asked["login_hint"], asked["redirect_uri"]) == (ANN, CALLBACK)
    assert asked["nonce"]
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert opened.headers["referrer-policy"] == "no-referrer"
    assert opened.headers["cache-control"] == "no-store"
    (row,) = await scene.rows("SELECT * FROM oauth_states")
    kept = b"".join(value for value in row.values() if isinstance(value, bytes))
    assert asked["state"].encode() not in kept
    assert http.cookies["superimap-browser"].encode() not in kept


async def test_over_https_the_cookie_is_bound_to_the_host(scene, database_url):
    from superimap.api.app import create_app
    from superimap.core.crypto import Vault
    from superimap.db.engine import sessions
    from tests.support.api import KEY

    shown = await scene.user()
    settings = settings_for(database_url, base_url="https://superimap.example.com")
    async with sessions(settings.database_url) as sessionmaker:
        app = create_app(settings, sessionmaker, Vault.from_setting(KEY))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://testserver"
        ) as http:
            opened = await http.get(shown["connect_url"])

    cookie = opened.headers["set-cookie"]
    assert cookie.startswith("__Host-superimap-browser=")
    assert "; Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


async def test_a_consent_over_real_sockets_ends_on_our_page_if_the_partner_has_none(scene, database_url):
    await scene.rows("UPDATE partners SET success_url = NULL")
    await scene.user()
    async with served(settings_for(database_url)) as url, httpx.AsyncClient(timeout=20) as http:
        scene.provider.add_client(f"{url}/users/connect/callback", client_secret="cl13nt-s3cret")
        key = {"x-api-key": scene.api_key}
        shown = (await http.get(f"{url}/api/v1/connections/OAUTH/users/ann", headers=key)).json()
        page = await http.get(shown["connect_url"])
        answer = await http.post(
            f"{url}/users/connect/consent", data=hidden_fields(page.text), follow_redirects=True
        )

    assert answer.status_code == 200
    assert "You are connected" in answer.text
    assert answer.url.path == "/users/connect/finished"


# Refused before the provider is asked.


async def assert_error_page(scene, answer: httpx.Response, status: int, text: str) -> None:
    """Assert that the answer is a page for people, and that no user was connected."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert text in answer.text
    assert await scene.rows("SELECT 1 FROM users WHERE connected_at IS NOT NULL") == []
    assert await scene.delivery_contents() == []


@pytest.mark.parametrize("fault", ["wrong_state", "no_state"])
async def test_40_a_missing_or_forged_state_connects_no_user(scene, fault):
    shown = await scene.user()
    scene.provider.faults.arm(fault)

    async with scene.browser() as http:
        answer = await connect_by_consent(http, shown["connect_url"])

    await assert_error_page(scene, answer, 400, "cannot be finished here")
    assert scene.provider.count("/token") == 0


async def test_40_a_state_is_accepted_once_even_if_a_later_step_fails(scene):
    shown = await scene.user()
    scene.provider.faults.arm("server_error")
    async with scene.browser() as http:
        back = await consent(http, shown["connect_url"])
        assert result_of(await http.get(back))["superimap_reason"] == "provider_unavailable"

        answer = await http.get(back)

    await assert_error_page(scene, answer, 400, "cannot be finished here")
    assert scene.provider.count("/token") == 1


async def test_40_another_browser_cannot_finish_a_consent(scene):
    shown = await scene.user()
    async with scene.browser() as hers, scene.browser() as his:
        back = await consent(hers, shown["connect_url"])
        await his.get((await scene.read_user())["connect_url"])

        answer = await his.get(back)

    await assert_error_page(scene, answer, 400, "another browser")
    assert scene.provider.count("/token") == 0


async def test_41_a_code_from_another_consent_is_refused(scene):
    shown = await scene.user()
    async with scene.browser() as hers, scene.browser() as his:
        stolen = parse_qs(urlsplit(await consent(his, shown["connect_url"])).query)["code"][0]
        back = httpx.URL(await consent(hers, (await scene.read_user())["connect_url"]))

        answer = await hers.get(back.copy_set_param("code", stolen))

    assert result_of(answer)["superimap_reason"] == "refused"
    assert await scene.delivery_contents() == []


async def test_a_consent_that_took_more_than_an_hour_is_refused(scene):
    shown = await scene.user()
    async with scene.browser() as http:
        back = await consent(http, shown["connect_url"])
        await scene.rows("UPDATE oauth_states SET expires_at = now() - interval '1 second'")

        answer = await http.get(back)

    await assert_error_page(scene, answer, 400, "more than an hour")


@pytest.mark.parametrize("change", [{"user_id": "2"}, {"ts": "1"}, {"sig": "0" * 64}, {"sig": ""}])
async def test_44_a_guessed_link_is_404(scene, change):
    shown = await scene.user()

    async with scene.browser() as http:
        answer = await http.get(httpx.URL(shown["connect_url"]).copy_merge_params(change))

    await assert_error_page(scene, answer, 404, "This link does not work")
    assert "User not found. Open the link exactly as it was sent" in answer.text


@pytest.mark.parametrize("purpose", ["connect_url", "disconnect_url"])
async def test_44_a_link_that_is_older_than_half_an_hour_is_410(scene, purpose, monkeypatch):
    shown = await scene.user()
    monkeypatch.setattr("superimap.oauth.links.LIFETIME_SECONDS", -1)

    async with scene.browser() as http:
        answer = await http.get(shown[purpose])

    await assert_error_page(scene, answer, 410, "This link has expired")
    assert await scene.rows("SELECT 1 FROM oauth_states") == []


async def test_44_a_link_that_has_connected_a_user_is_410(scene):
    shown = await scene.user()
    async with scene.browser() as http:
        pending = await consent(http, shown["connect_url"])
        await connect_by_consent(http, shown["connect_url"])

        again = await http.get(shown["connect_url"])
        late = await http.get(pending)

    assert (again.status_code, late.status_code) == (410, 410)
    assert "has been used" in again.text
    assert len(await scene.delivery_contents()) == 1


async def test_opening_a_link_starts_nothing_and_does_not_invalidate_it(scene):
    shown = await scene.user()
    async with scene.browser() as scanner:
        for _ in range(3):
            assert (await scanner.get(shown["connect_url"])).status_code == 200
    assert await scene.rows("SELECT 1 FROM oauth_states UNION SELECT 1 FROM login_tries") == []

    async with scene.browser() as http:
        assert (
            result_of(await connect_by_consent(http, shown["connect_url"]))["superimap_result"] == "success"
        )


async def test_the_number_of_consents_that_a_link_starts_is_limited(scene, monkeypatch):
    monkeypatch.setattr(connect, "MAX_CONSENTS_PER_LINK", 3)
    shown = await scene.user()
    async with scene.browser() as http:
        answers = [await press_continue(http, shown["connect_url"]) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [303] * 3 + [429]
    assert len(await scene.rows("SELECT 1 FROM oauth_states")) == 3


async def test_the_page_names_the_partner_the_user_and_the_provider(scene):
    known, new = await scene.user(email=ANN), await scene.user(tag="user <7>")

    async with scene.browser() as http:
        pages = [await http.get(each["connect_url"]) for each in (known, new)]

    for page, person in zip(pages, (("ann", ANN), ("user &lt;7&gt;",)), strict=True):
        for name in ("Acme &lt;b&gt;Mail&lt;/b&gt;", "Continue to Test provider", *person):
            assert name in page.text
        assert page.text.count("<button") == 1
        policy = page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert scene.provider.url() in policy.partition("form-action ")[2].split()
        assert "https:" in policy.partition("form-action ")[2].split(), "sign-in pages of organisations"


@pytest.mark.parametrize("spoil", ["no token", "other browser", "other link", "GET"])
async def test_only_the_button_of_our_page_starts_a_consent(scene, spoil):
    shown = await scene.user()
    async with scene.browser() as http, scene.browser() as other:
        form = hidden_fields((await http.get(shown["connect_url"])).text)
        await other.get(shown["connect_url"])
        match spoil:
            case "no token":
                answer = await http.post(CONSENT, data={**form, "token": ""})
            case "other browser":
                answer = await other.post(CONSENT, data=form)
            case "other link":
                bob = httpx.URL((await scene.user(tag="bob"))["connect_url"]).params
                answer = await http.post(CONSENT, data={**form, **bob})
            case "GET":
                answer = await http.get(CONSENT, params=form)

    assert answer.status_code == (405 if spoil == "GET" else 403)
    assert await scene.rows("SELECT 1 FROM oauth_states") == []


async def test_the_form_of_a_password_provider_starts_no_consent(scene):
    shown = await scene.user("GMAIL")
    async with scene.browser() as http:
        form = hidden_fields((await http.get(shown["connect_url"])).text)

        assert (await http.post(CONSENT, data=form)).status_code == 404


@pytest.mark.parametrize("parameter", ["success", "failure"])
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.net/",
        "//evil.example.net",
        "https://app.example.com.evil.example.net/",
        "https://app.example.com@evil.example.net/",
        "https://app.example.com:8443/",
        "http://app.example.com/",
        "https://other.example.com/",
        "javascript:alert(1)",
        "https:/\\evil.example.net",
        "",
    ],
)
async def test_43_a_link_returns_people_to_registered_origins_only(scene, parameter, url):
    shown = await scene.user()

    async with scene.browser() as http:
        answer = await http.get(httpx.URL(shown["connect_url"]).copy_set_param(parameter, url))

    await assert_error_page(scene, answer, 400, "This link is not valid")
    assert await scene.rows("SELECT 1 FROM oauth_states") == []


@pytest.mark.parametrize("url", ["https://app.example.com/else", "https://other.example.com:8443/x?a=b%20c"])
async def test_a_link_may_name_a_registered_return_url(scene, url):
    shown = await scene.user()

    async with scene.browser() as http:
        answer = await connect_by_consent(
            http, str(httpx.URL(shown["connect_url"]).copy_set_param("success", url))
        )

    assert answer.headers["location"].startswith(url)


async def test_results_are_appended_only_if_the_partner_wants_them(scene):
    await scene.rows("UPDATE partners SET append_results = false")
    shown = await scene.user()

    async with scene.browser() as http:
        answer = await connect_by_consent(http, shown["connect_url"])

    assert answer.headers["location"] == f"{APP}/ok?page=1"


async def test_the_code_leaves_the_address_bar_at_once_and_is_in_no_response(scene):
    shown = await scene.user()
    async with scene.browser() as http:
        back = httpx.URL(await consent(http, shown["connect_url"]))
        answer = await http.get(back)
        again = await http.get(back)

    for each in (answer, again):
        said = each.text + str(each.headers)
        assert [value for value in back.params.values() if len(value) > 15 and value in said] == []
        assert each.headers["referrer-policy"] == "no-referrer"
        assert each.headers["cache-control"] == "no-store"
    assert (answer.status_code, again.status_code) == (303, 400)
    assert answer.text == ""


SCRIPT = '"><script>alert(1)</script>'


async def test_47_names_are_escaped_on_every_page(scene):
    await scene.rows("UPDATE partners SET name = $1", f"Acme {SCRIPT}")
    await scene.rows("UPDATE providers SET title = $1", f"Mail {SCRIPT}")
    shown = await scene.user("GMAIL", email=f"ann{SCRIPT}@example.com")
    consenting = await scene.user(tag=SCRIPT.partition("</")[0])  # a tag has no slash

    async with scene.browser() as http:
        pages = [
            await http.get(shown["connect_url"]),
            await http.get(shown["disconnect_url"]),
            await http.get(consenting["connect_url"]),
            await http.get(f"/users/connect/finished?superimap_result={SCRIPT}"),
            await http.get(httpx.URL(shown["connect_url"]).copy_set_param("success", SCRIPT)),
        ]

    for page in pages:
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
    assert "&lt;script&gt;" in pages[0].text
    assert "&lt;script&gt;" in pages[1].text
    assert pages[2].text.count("&lt;script&gt;") >= 4, "partner, tag and provider"


async def test_a_consent_survives_unknown_keys_and_a_rotated_key_of_the_provider(scene):
    scene.provider.extra_keys = [{"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA", "kid": "test"}, {}]
    await scene.rows("UPDATE providers SET oauth2_userinfo_url = NULL")
    ann, bob = await scene.user(), await scene.user(tag="bob")

    async with scene.browser() as http:
        first = await connect_by_consent(http, ann["connect_url"])
        scene.provider.extra_keys.append(scene.provider.terms.key.as_dict(private=False))
        scene.provider.terms.key = RSAKey.generate_key(2048, {"kid": "rotated"})
        scene.provider.add_person("bob@example.com")
        scene.provider.consents = "bob@example.com"
        second = await connect_by_consent(http, bob["connect_url"])

    assert [result_of(each)["superimap_result"] for each in (first, second)] == ["success", "success"]


async def test_another_address_of_the_same_account_connects_and_the_providers_name_is_kept(scene):
    scene.provider.terms.extra_claims = {"preferred_username": "u7@sign-in.example.com", "xms_edov": True}
    await scene.rows("UPDATE providers SET oauth2_email_claims = 'preferred_username email'")
    shown = await scene.user(email=ANN)

    async with scene.browser() as http:
        answer = await connect_by_consent(http, shown["connect_url"])

    assert result_of(answer)["superimap_result"] == "success"
    (user,) = await scene.rows("SELECT email, login_username FROM users")
    assert tuple(user) == (ANN, "u7@sign-in.example.com")
    (event,) = await scene.delivery_contents()
    assert event["email"] == ANN


@pytest.mark.parametrize("joint", ["?", "&amp;", ").&"])
async def test_return_urls_that_are_appended_to_a_link_by_another_sign_are_used(scene, joint):
    """The original's documentation appends the query with a second question mark."""
    shown = await scene.user()
    other = "https%3A%2F%2Fother.example.com%3A8443"
    query = f"success={other}%2Fdone&failure={other}%2Fno"

    async with scene.browser() as http:
        answer = await connect_by_consent(http, f"{shown['connect_url']}{joint}{query}")
        disconnect = await http.get(f"{shown['disconnect_url']}?{query}")

    assert answer.headers["location"].startswith("https://other.example.com:8443/done?")
    assert disconnect.status_code == 200
