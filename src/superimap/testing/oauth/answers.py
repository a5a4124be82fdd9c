"""Pages and faulty answers of the fake authorization server."""

from __future__ import annotations

import asyncio
import html
import secrets
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiohttp import web

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Test provider</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"><style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; margin: 10vh auto; padding: 1rem; }}
label {{ display: block; padding: .6rem 0; }}
button {{ font: inherit; padding: .7rem 1.4rem; margin: 1rem .5rem 0 0; border: 1px solid; border-radius: .5rem; }}
</style><main><h1>Test provider</h1><p><strong>{client}</strong> asks for: {scope}</p>
<form method="post"><fieldset><legend>Who are you?</legend>{people}</fieldset>
<button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button>
</form></main></html>"""

_REFUSALS: dict[str, tuple[int, dict[str, str], dict[str, str]]] = {
    "invalid_grant": (400, {"error": "invalid_grant", "error_description": "Token has been revoked."}, {}),
    "invalid_client": (401, {"error": "invalid_client"}, {"WWW-Authenticate": "Basic"}),
    "consent_required": (400, {"error": "interaction_required", "suberror": "consent_required"}, {}),
    "unauthorized_client": (400, {"error": "unauthorized_client"}, {}),
    "throttled": (429, {"error": "slow_down"}, {"Retry-After": "2"}),
    "unready": (503, {"error": "temporarily_unavailable"}, {}),
    "no_token": (200, {"token_type": "Bearer"}, {}),
}


def consent_page(client: str, scope: str, emails: Iterable[str], *, chosen: str | None) -> web.Response:
    """Return the page on which a person consents; the account `chosen` is preselected."""
    people = "".join(
        f'<label><input type="radio" name="email" value="{html.escape(email)}"'
        f"{' checked' if email == chosen else ''}> {html.escape(email)}</label>"
        for email in emails
    )
    page = _PAGE.format(client=html.escape(client), scope=html.escape(scope), people=people)
    return web.Response(text=page, content_type="text/html")


async def faulty_token_response(fault: str) -> web.StreamResponse:
    """Return the answer of the token endpoint with this fault; `hang` never returns."""
    if fault in _REFUSALS:
        status, body, headers = _REFUSALS[fault]
        return web.json_response(body, status=status, headers=headers)
    match fault:
        case "server_error":
            return web.Response(status=500, text="<h1>Internal error</h1>", content_type="text/html")
        case "garbage":
            return web.Response(body=b"\x00\xff{{{", content_type="application/json")
        case "huge":
            return web.Response(body=b"[" + b" " * (8 * 1024 * 1024), content_type="application/json")
        case "hang":
            await asyncio.Event().wait()  # aiohttp cancels this when the client disconnects
    return web.Response(status=302, headers={"Location": "/jwks"})


def faulty_redirect(location: str, fault: str) -> str:
    """Change the URL that a person is redirected to, so that it has this fault."""
    parts = urlsplit(location)
    query = dict(parse_qsl(parts.query))
    match fault:
        case "wrong_state":
            query["state"] = secrets.token_urlsafe(24)
        case "no_state":
            query.pop("state", None)
        case "wrong_code":
            query["code"] = secrets.token_urlsafe(24)
        case "unavailable":
            query = {"error": "temporarily_unavailable", "state": query.get("state", "")}
    return urlunsplit(parts._replace(query=urlencode(query)))
