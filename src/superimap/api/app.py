"""Assembly of the ASGI application: routes, error handlers, middleware and their resources."""

import asyncio
from types import ModuleType
from typing import Any

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.routing import Route

from superimap import __version__
from superimap.api import dashboard
from superimap.api.dependencies import Resources, Ring, no_doorbell
from superimap.api.errors import install_handlers
from superimap.api.login_check import LoginSlots
from superimap.api.middleware import EdgeMiddleware
from superimap.api.openapi import DESCRIPTION, TAGS, describe
from superimap.api.operator_api import connections as partner_connections
from superimap.api.operator_api import jobs, keys, partners, people, providers, status
from superimap.api.read_replica import ReadReplica
from superimap.api.routes import (
    api_keys,
    audit,
    callback,
    cluster,
    connect,
    connections,
    deliveries,
    disconnect,
    docs,
    health,
    messages,
    password,
    portal,
    sweeps,
    user_batches,
    users,
    webhook_test,
    webhooks,
)
from superimap.core.config import Settings
from superimap.core.content_store import ContentStore
from superimap.core.crypto import Vault
from superimap.core.egress import Guard
from superimap.core.resolver import Resolver
from superimap.db.accounts import quotas
from superimap.db.accounts.api_keys import CELL
from superimap.db.accounts.room import QuotaPolicy
from superimap.domain.quotas import Quota, RecentRefusals
from superimap.oauth.links import derive_keys

MODULES = (
    connections, users, user_batches, messages, sweeps, deliveries, webhooks, api_keys, audit, webhook_test,
    health, connect, callback, password, disconnect, docs, cluster, portal,
    partners, partner_connections, keys, providers, status, jobs, people,
)  # fmt: skip


def create_app(
    settings: Settings,
    sessionmaker: async_sessionmaker[AsyncSession],
    vault: Vault,
    *,
    ring: Ring = no_doorbell,
    stop: asyncio.Event | None = None,
    read_replica: ReadReplica | None = None,
    dashboard_sessions: async_sessionmaker[AsyncSession] | None = None,
) -> FastAPI:
    """Create the API as an ASGI application. The caller owns the resources and closes them.

    /readyz fails once `stop` is set.
    """
    app = _app_with_routes(settings)
    keys = derive_keys(settings.encryption_key.get_secret_value())
    policy = QuotaPolicy({Quota(name): most for name, most in settings.quotas.items()}, RecentRefusals())
    info = {quotas.LIMITS: policy.defaults, quotas.REFUSALS: policy.refusals, CELL: settings.cell}
    for each in filter(None, (sessionmaker, dashboard_sessions)):
        each.configure(info=info)
    guard = Guard(settings.allowed_networks, own=settings.own_addresses)
    app.state.resources = Resources(
        settings,
        sessionmaker,
        vault,
        keys,
        ring,
        guard,
        Resolver(),
        LoginSlots(),
        stop or asyncio.Event(),
        quota_policy=policy,
        read_replica=read_replica or ReadReplica(),
        dashboard_sessions=dashboard_sessions,
        contents=ContentStore(settings.content_store_url if settings.content_download else ""),
    )
    app.router.routes.extend(dashboard.routes())
    every_route = [route for module in enabled_modules(settings) for route in module.router.routes]
    install_handlers(app, [route for route in every_route if isinstance(route, Route)])
    app.add_middleware(EdgeMiddleware, settings=settings)
    return app


def openapi(settings: Settings | None = None) -> dict[str, Any]:
    """Return the OpenAPI description. It needs no database, and settings only for the URL of the server."""
    return describe(_app_with_routes(settings))


def enabled_modules(settings: Settings | None) -> list[ModuleType]:
    """Return the modules with routes: all of them, but the operators' routes only if OPERATOR_KEY is set."""
    return [each for each in MODULES if each is not cluster or settings is None or settings.operator_key]


def _app_with_routes(settings: Settings | None) -> FastAPI:
    app = FastAPI(
        title="SuperIMAP",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=list(TAGS),
        servers=[{"url": settings.base_url}] if settings and settings.base_url else docs.ANYWHERE,
        openapi_url=None,  # docs serves it
        docs_url=None,
        redoc_url=None,
        # A redirect would make the client send its key again, to an address that it has not chosen.
        redirect_slashes=False,
    )
    app.router.routes.extend(route for module in enabled_modules(settings) for route in module.router.routes)
    app.mount("/docs/assets", docs.assets)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app
