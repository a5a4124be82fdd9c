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
from starlette.types import Message, Receive, Scope, Send

from superimap.api.pages import texts
from superimap.api.pages.render import render_page
from superimap.api.public_path import PREFIX
from superimap.core.errors import SuperImapError
from superimap.db.accounts.constraints import ValueTaken
from superimap.db.errors import Conflict, Forbidden, Invalid, NotFound, RequestError, TooMany
from superimap.db.failures import DatabaseFailure, classify, explain

log = logging.getLogger(__name__)

PAGES_PATHS = ("/users/", "/admin", "/portal")
"""Prefixes of the paths that people open in a browser."""

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
_SECOND_ATTEMPT = "superimap.second_attempt"


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


def problem_response(problem: Problem, scope: Scope) -> Response:
    """Return the response to a request: a page for people, JSON for programs."""
    if not scope["path"].startswith(PAGES_PATHS):
        return problem.response()
    title = texts.PROBLEM_TITLES.get(problem.kind, HTTPStatus(problem.status).phrase)
    return render_page(
        "message.html",
        prefix=scope.get(PREFIX, ""),
        status=problem.status,
        headers=problem.headers,
        title=title,
        text=problem.detail,
        kind="bad",
        home=_home(scope),
    )


def _home(scope: Scope) -> tuple[str, str] | None:
    """Return the name and the address of the page from which a person can go on; None for links by mail."""
    for door, name in (("/admin", "To the dashboard"), ("/portal", "To the overview")):
        if scope["path"].startswith(door):
            return name, f"{scope.get(PREFIX, '')}{door}"
    return None


def invalid_fields(errors: Sequence[tuple[str, str]]) -> Problem:
    """Return a 422 that names these fields."""
    detail = "; ".join(f"{field} {message}" for field, message in errors)
    # The name of a field keeps its spelling; an ordinary word begins the sentence with a capital.
    sentence = detail if "_" in errors[0][0] else f"{detail[0].upper()}{detail[1:]}"
    return Problem(422, f"{sentence}.", kind="invalid", errors=errors)


def unavailable(failure: DatabaseFailure = DatabaseFailure.UNREACHABLE) -> Problem:
    """Return a 503 for a database that fails for the moment."""
    if failure in {DatabaseFailure.READ_ONLY, DatabaseFailure.OUT_OF_RESOURCES}:
        detail = "The database cannot store changes at the moment. Nothing was changed; try again later."
    else:
        detail = (
            "The database cannot be reached at the moment. Whether a change was stored is unknown: read before "
            "you write again."
        )
    return Problem(503, detail, kind="unavailable", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


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


def temporary_failure(error: BaseException) -> DatabaseFailure | None:
    """Return what a temporary error says about the database; None for any other error."""
    failure = DatabaseFailure.CONTENDED if isinstance(error, sql.TimeoutError) else classify(error)
    return failure if failure and failure.is_temporary else None


def problem_of(error: Exception) -> Problem | None:
    """Translate an error from below into a Problem; None for an internal error."""
    problem: Problem | None = None
    match error:
        case Problem():
            problem = error
        case RequestError():
            problem = _request_problem(error)
        case RequestValidationError():
            problem = invalid_fields(field_faults(error.errors()))
        case HTTPException():
            problem = Problem(error.status_code, _sentence(error.status_code), headers=error.headers)
        case _ if failure := temporary_failure(error):
            # Log only the class of the error: its text may contain values of the statement.
            log.warning(
                "database unavailable", extra={"error": type(error).__name__, "reason": explain(error)}
            )
            problem = unavailable(failure)
    return problem


def _request_problem(error: RequestError) -> Problem | None:
    problem: Problem | None = None
    match error:
        case NotFound():
            problem = Problem(404, str(error))
        case Invalid():
            problem = invalid_fields([(error.field, error.reason)])
        case ValueTaken():
            problem = Problem(409, str(error), kind="taken", errors=[(error.field, "is taken")])
        case Conflict():
            problem = Problem(409, str(error), kind=error.kind)
        case Forbidden():
            faults = [(error.field, "exceeds the rights of your key")] if error.field else []
            problem = Problem(403, str(error), kind=error.kind, errors=faults)
        case TooMany():
            problem = Problem(429, str(error), headers={"Retry-After": str(error.seconds)})
    return problem


def _sentence(status: int) -> str:
    match status:
        case 404:
            return "This address does not exist. See /docs for all addresses."
        case 405:
            return "This address does not accept this method. The header Allow lists the methods that it accepts."
        case _:
            return f"{HTTPStatus(status).phrase}."


class SecondAttempt(Response):
    """The response of a route that handles the same request once more."""

    def __init__(self, route: Route, body: bytes) -> None:
        super().__init__()
        self._route = route
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the request with the body that was read before."""

        async def read_again() -> Message:
            return {"type": "http.request", "body": self._body, "more_body": False}

        await self._route.app(scope, read_again, send)


async def _second_attempt(request: Request) -> Response | None:
    """Return the same request once more: a plan was outdated, and the first attempt was rolled back.

    SQLAlchemy has dropped all its plans by now. None if this was the second attempt, or if the body is gone.
    """
    route = request.scope.get("route")
    if request.scope.get(_SECOND_ATTEMPT) or not isinstance(route, Route):
        return None
    try:
        body = await request.body()
    except RuntimeError:  # it was read as a stream
        return None
    request.scope[_SECOND_ATTEMPT] = True
    return SecondAttempt(route, body)


def install_handlers(app: FastAPI, routes: Sequence[Route]) -> None:
    """Translate every expected error; EdgeMiddleware answers the others with a 500."""

    async def answer(request: Request, error: Exception) -> Response:
        if classify(error) is DatabaseFailure.OUTDATED and (again := await _second_attempt(request)):
            return again
        problem = problem_of(error)
        if problem is None:
            raise error
        if problem.status == 405:
            # Starlette lists only the methods of the first of several routes with the same path. Of several paths
            # that match, the one with the fewest parameters is documented: /users/batch before /users/{tag}.
            paths = [route.path for route in routes if route.path_regex.match(request.url.path)]
            path = min(paths, key=lambda each: each.count("{"), default=None)
            methods = {method for route in routes if route.path == path for method in route.methods or ()}
            problem.headers["Allow"] = ", ".join(sorted(methods))
        return problem_response(problem, request.scope)

    expected: tuple[type[Exception], ...] = (
        Problem,
        RequestError,
        RequestValidationError,
        HTTPException,
        sql.SQLAlchemyError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
    )
    for family in expected:
        app.add_exception_handler(family, answer)
