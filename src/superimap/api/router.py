"""Router of the routes of one module, and the route of a page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Match, Route
from starlette.types import Scope


def _operation_id(route: APIRoute) -> str:
    """Return the name of the route's function; the methods of generated clients are named after it."""
    return route.name


class Router(APIRouter):
    """FastAPI's router, whose routes are complete: an application takes them over as they are.

    FastAPI's `include_router` would analyse each route again, in every process at its first request (36 ms).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(generate_unique_id_function=_operation_id, **options)


class PageRoute(Route):
    """Starlette's route, which is found in the scope as FastAPI's routes are: its path is a label of metrics."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the request is for this route, and what its scope gets."""
        match, child_scope = super().matches(scope)
        return match, child_scope if match is Match.NONE else {**child_scope, "route": self}
