"""Pages for people who operate SuperIMAP (`/admin`) and for partners (`/portal`), rendered on the server."""

from starlette.routing import BaseRoute

from superimap.api.dashboard import live, portal, sign_in
from superimap.api.dashboard.pages import ADMIN, PORTAL
from superimap.api.dashboard.views import account, audit, cluster, find, mailbox, now, operators, system

MODULES = (sign_in, portal, now, find, mailbox, cluster, operators, account, audit, system)


def routes() -> list[BaseRoute]:
    """Return the routes of all pages."""
    own = [route for module in MODULES for route in module.pages.routes]
    return [live.route(ADMIN), live.route(PORTAL), *own, *portal.admin_pages.routes]
