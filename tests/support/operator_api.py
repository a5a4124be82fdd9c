"""The routes of the operator API, with the role that each needs, and a webhook for them to act on."""

from __future__ import annotations

import re

from fastapi.routing import APIRoute

from fixtures.deliveries import DeliveryFactory
from superimap.api.app import enabled_modules
from superimap.api.calling_key import calling_key
from superimap.api.operator_api.caller import calling_operator
from superimap.domain.operators import OperatorRole
from tests.support.api import ApiWorld

BASE = "/api/v1/operator"
ROUTES = [
    route for module in enabled_modules(None) for route in module.router.routes if isinstance(route, APIRoute)
]


def calls_of(dependant) -> list[object]:
    return [dependant.call, *(call for each in dependant.dependencies for call in calls_of(each))]


OPERATOR_ROUTES = [route for route in ROUTES if calling_operator in calls_of(route.dependant)]
PARTNER_ROUTES = [route for route in ROUTES if calling_key in calls_of(route.dependant)]


def role_of(route: APIRoute) -> OperatorRole:
    (role,) = [call.role for call in calls_of(route.dependant) if hasattr(call, "role")]
    return role


def is_confirmed(route: APIRoute) -> bool:
    """Whether a token needs the mark for what needs a confirmed identity."""
    (needed,) = [call.is_confirmed for call in calls_of(route.dependant) if hasattr(call, "is_confirmed")]
    return needed


def request_of(route: APIRoute) -> tuple[str, str]:
    (method,) = route.methods
    return method, re.sub(r"{(\w+)}", lambda name: "PLAIN" if "code" in name[1] else "1", route.path_format)


async def one_waits(world: ApiWorld) -> None:
    """A webhook of acme that is to be sent."""
    factory = DeliveryFactory(world.sessionmaker, world.vault)
    await factory.user("ann")
    await factory.endpoint("https://a.example/hook")
    await factory.deliveries(1, state="pending")
