"""Pages for people who operate SuperIMAP (`/admin`) and for partners (`/portal`), rendered on the server."""

from starlette.routing import Route

from superimap.api.dashboard import confirmation, invitations, live, portal, sign_in, single_sign_on
from superimap.api.dashboard.menus import ADMIN, PORTAL
from superimap.api.dashboard.views import (
    account,
    audit,
    cluster,
    connection_archive,
    connections,
    deliveries,
    endpoints,
    find,
    jobs,
    mail_content,
    mailbox,
    mailbox_actions,
    mailbox_forms,
    now,
    operator_tokens,
    operators,
    partner_form,
    partner_keys,
    partner_quotas,
    partners,
    portal_keys,
    protocol_log,
    provider_form,
    providers,
    sweeps,
    system,
    tracers,
    unwatched,
)

MODULES = (
    sign_in,
    invitations,
    confirmation,
    single_sign_on,
    portal,
    now,
    find,
    partners,
    partner_form,
    partner_keys,
    partner_quotas,
    portal_keys,
    connections,
    connection_archive,
    mailbox,
    mailbox_forms,
    mailbox_actions,
    sweeps,
    mail_content,
    protocol_log,
    provider_form,
    providers,
    tracers,
    deliveries,
    endpoints,
    jobs,
    cluster,
    operators,
    operator_tokens,
    account,
    audit,
    system,
    unwatched,
)


def routes() -> list[Route]:
    """Return the routes of all pages."""
    own = [route for module in MODULES for route in module.pages.routes]
    of_one_door = (deliveries.admin_pages, deliveries.portal_pages, endpoints.admin_pages, portal.admin_pages)
    others = [route for pages in of_one_door for route in pages.routes]
    return [live.route(ADMIN), live.route(PORTAL), *own, *others]
