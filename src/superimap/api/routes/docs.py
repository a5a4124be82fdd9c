"""Swagger UI at /docs and the description at /openapi.json, with all of their files served from here."""

from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from superimap.api.public_path import PREFIX
from superimap.api.router import Router

router = Router(include_in_schema=False)

STATIC = Path(__file__).resolve().parents[1] / "static"
assets = StaticFiles(directory=STATIC)

ANYWHERE = [{"url": "/"}]
"""The server of the description where BASE_URL is not set."""

# Scripts and styles are our own files. Swagger UI's icons are data: images in its style sheet.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = """\
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>SuperIMAP API</title>
  <link rel="icon" type="image/png" href="docs/assets/swagger-ui/favicon-32x32.png">
  <link rel="stylesheet" href="docs/assets/swagger-ui/swagger-ui.css">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="docs/assets/swagger-ui/swagger-ui-bundle.js"></script>
  <script src="docs/assets/docs.js"></script>
</body>
</html>
"""


@router.get("/")
async def front(request: Request) -> RedirectResponse:
    """Redirect visitors of the bare host name to the documentation."""
    return RedirectResponse(f"{request.scope[PREFIX]}/docs")


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Serve the page; its script reads /openapi.json."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


async def description(request: Request) -> JSONResponse:
    """Serve the OpenAPI description. Without BASE_URL its server is where the client found it."""
    described, prefix = request.app.openapi(), request.scope[PREFIX]
    is_anywhere = described["servers"] == ANYWHERE
    return JSONResponse({**described, "servers": [{"url": prefix}]} if prefix and is_anywhere else described)


router.add_route("/openapi.json", description, include_in_schema=False)
