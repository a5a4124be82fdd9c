"""Swagger UI at /docs works without any host but our own."""

from urllib.parse import urlsplit

import pytest
from playwright.async_api import async_playwright

from tests.e2e.api import running

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    # Every other name resolves to nothing.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


@pytest.mark.slow
async def test_swagger_ui_shows_every_operation_and_contacts_no_other_host(database_url, chromium, tmp_path):
    asked, complaints = [], []
    async with running(database_url) as api, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = await browser.new_page(viewport={"width": 1200, "height": 1500})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))

        async def gate(route):
            asked.append(route.request.url)
            is_ours = urlsplit(route.request.url).scheme == "data" or route.request.url.startswith(api.url)
            await (route.continue_() if is_ours else route.abort())

        await page.route("**/*", gate)
        await page.goto(f"{api.url}/docs")
        await page.wait_for_selector("#operations-health-readyz")
        shown = await page.locator(".opblock").count()
        described = await (await page.request.get(f"{api.url}/openapi.json")).json()
        await page.locator("#operations-users-create_user .opblock-summary-control").click()
        example = page.locator("#operations-users-create_user .body-param__example").first
        await example.wait_for()
        body = await example.inner_text()
        await page.screenshot(path=str(tmp_path / "swagger-ui.png"), full_page=True)

        # A request from the page itself: enter the key, and see the response.
        await page.locator(".authorize").first.click()
        await page.locator(".auth-container input").first.fill(api.api_key)
        await page.locator(".auth-container button.authorize").first.click()
        await page.locator(".auth-btn-wrapper .btn-done").first.click()
        operation = page.locator("#operations-connections-list_connections")
        await operation.locator(".opblock-summary-control").click()
        await operation.locator(".try-out__btn").click()
        await operation.locator(".execute").click()
        await operation.locator(".live-responses-table .microlight").first.wait_for()
        answered = await operation.locator(".live-responses-table").inner_text()
        await page.screenshot(path=str(tmp_path / "swagger-ui-call.png"), full_page=True)
        await browser.close()

    assert shown == sum(len(methods) for methods in described["paths"].values())
    assert '"login_username"' in body
    assert "GMAIL_OAUTH2" in answered
    foreign = [url for url in asked if urlsplit(url).scheme != "data" and not url.startswith(api.url)]
    assert foreign == []
    assert f"{api.url}/docs/assets/swagger-ui/swagger-ui-bundle.js" in asked
    assert complaints == []
