"""Errors of the API as application/problem+json (RFC 9457), and their translation from errors below."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy import exc as sql
from starlette.exceptions import HTTPException
from starlette.routing import Route

from superimap.api.pages import texts
from superimap.api.pages.render import render_page
from superimap.core.errors import SuperImapError
from superimap.db.accounts.constraints import ValueTaken
from superimap.db.errors import Conflict, Invalid, NotFound, RequestError, TooMany
from superimap.db.postgres import UNAVAILABLE

log = logging.getLogger(__name__)

PAGES_PATH = "/users/"
"""Prefix of the paths that people open in a browser."""

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2

# Errors that a retry may resolve: deadlock, lost race, lock or statement timeout, a standby, a missing schema.
_TRANSIENT_SQLSTATES = frozenset(
    {"40001", "40P01", "55P03", "57014", "25006", "42P01", "42703", "3D000", "28000", "28P01"}
)


class Problem(SuperImapError):
    """An error response: a status, a sentence, and the wrong fields, each with what is expected."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str = "",
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind or HTTPStatus(status).phrase.lower().replace(" ", "-")
        self.errors = errors
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        """Return the members of RFC 9457, and `errors`."""
        return {
            "type": f"urn:superimap:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "errors": [{"field": field, "message": message} for field, message in self.errors],
        }

    def response(self) -> JSONResponse:
        """Return the response for programs."""
        return JSONResponse(self.body(), self.status, self.headers, media_type=MEDIA_TYPE)


def problem_response(problem: Problem, path: str) -> Response:
    """Return the response to a path: a page for people, JSON for programs."""
    if not path.startswith(PAGES_PATH):
        return problem.response()
    title = texts.PROBLEM_TITLES.get(problem.kind, HTTPStatus(problem.status).phrase)
    return render_page(
        "message.html",
        status=problem.status,
        headers=problem.headers,
        title=title,
        text=problem.detail,
        kind="bad",
    )


def invalid_fields(errors: Sequence[tuple[str, str]]) -> Problem:
    """Return a 422 that names these fields."""
    detail = "; ".join(f"{field} {message}" for field, message in errors)
    # The name of a field keeps its spelling; an ordinary word begins the sentence with a capital.
    sentence = detail if "_" in errors[0][0] else f"{detail[0].upper()}{detail[1:]}"
    return Problem(422, f"{sentence}.", kind="invalid", errors=errors)


def unavailable() -> Problem:
    """Return a 503 for an unreachable database."""
    return Problem(
        503,
        "The database cannot be reached at the moment. Whether a change was stored is unknown: read before "
        "you write again.",
        kind="unavailable",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def field_faults(errors: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return Pydantic's errors as (field, what is wrong), without the value, which may be a secret."""
    return [(_field(error["loc"]), _message(error)) for error in errors]


def _field(location: Sequence[object]) -> str:
    names = [str(part) for part in location if part not in {"body", "query", "path", "header"}]
    return ".".join(names) or "body"


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "is missing"
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if message.startswith("should "):
        message = f"must {message.removeprefix('should ')}"
    return message[0].lower() + message[1:]


def is_unavailable(error: BaseException | None) -> bool:
    """Whether the database was unreachable, or unable for the moment; looks into wrapped errors of drivers."""
    while error is not None:
        if isinstance(error, (*UNAVAILABLE, sql.TimeoutError)):
            return True
        if getattr(error, "sqlstate", None) in _TRANSIENT_SQLSTATES:
            return True
        error = getattr(error, "orig", None) or error.__cause__
    return False


def problem_of(error: Exception) -> Problem | None:
    """Translate an error from below into a Problem; None for an internal error."""
    problem: Problem | None = None
    match error:
        case Problem():
            problem = error
        case NotFound():
            problem = Problem(404, str(error))
        case Invalid():
            problem = invalid_fields([(error.field, error.reason)])
        case ValueTaken():
            problem = Problem(409, str(error), kind="taken", errors=[(error.field, "is taken")])
        case Conflict():
            problem = Problem(409, str(error), kind=error.kind)
        case TooMany():
            problem = Problem(429, str(error), headers={"Retry-After": str(error.seconds)})
        case RequestValidationError():
            problem = invalid_fields(field_faults(error.errors()))
        case HTTPException():
            problem = Problem(error.status_code, _sentence(error.status_code), headers=error.headers)
        case _ if is_unavailable(error):
            # Log only the class of the error: its text may contain values of the statement.
            log.warning("database unavailable", extra={"error": type(error).__name__})
            problem = unavailable()
    return problem


def _sentence(status: int) -> str:
    match status:
        case 404:
            return "This address does not exist. See /docs for all addresses."
        case 405:
            return "This address does not accept this method. The header Allow lists the methods that it accepts."
        case _:
            return f"{HTTPStatus(status).phrase}."


def install_handlers(app: FastAPI, routes: Sequence[Route]) -> None:
    """Translate every expected error; EdgeMiddleware answers the others with a 500."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem is None:
            raise error
        if problem.status == 405:
            # Starlette lists only the methods of the first of several routes with the same path. The first match
            # is right: a fixed path is registered before a pattern that it also matches (/replay before /{id}).
            path = next((route.path for route in routes if route.path_regex.match(request.url.path)), None)
            methods = {method for route in routes if route.path == path for method in route.methods or ()}
            problem.headers["Allow"] = ", ".join(sorted(methods))
        return problem_response(problem, request.url.path)

    expected: tuple[type[Exception], ...] = (
        Problem,
        RequestError,
        RequestValidationError,
        HTTPException,
        sql.SQLAlchemyError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        OSError,
    )
    for family in expected:
        app.add_exception_handler(family, answer)
