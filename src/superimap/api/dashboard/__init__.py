"""Pages for people who operate SuperIMAP (`/admin`) and for partners (`/portal`), rendered on the server."""

from starlette.routing import BaseRoute

from superimap.api.dashboard import sign_in
from superimap.api.dashboard.views import audit, cluster, now, system

MODULES = (sign_in, now, cluster, audit, system)


def routes() -> list[BaseRoute]:
    """Return the routes of all pages."""
    return [route for module in MODULES for route in module.pages.routes]
