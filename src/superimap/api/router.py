"""Router of the routes of one module."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute


def _operation_id(route: APIRoute) -> str:
    """Return the name of the route's function; the methods of generated clients are named after it."""
    return route.name


class Router(APIRouter):
    """FastAPI's router, whose routes are complete: an application takes them over as they are.

    FastAPI's `include_router` would analyse each route again, in every process at its first request (36 ms).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(generate_unique_id_function=_operation_id, **options)
