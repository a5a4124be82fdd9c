"""How is a body read? As JSON or as a form, strictly: each name once, and nothing that JSON does not know."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError

from superimap.api.errors import Problem, faults, invalid

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 100

Model = TypeVar("Model", bound=BaseModel)


def reading(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A dependency that reads the body into `model`; an empty body has no fields."""

    async def read(request: Request) -> Model:
        body = await request.body()
        fields = parsed(request.headers.get("content-type", ""), body) if body else {}
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise invalid(faults(error.errors(include_input=False, include_url=False))) from None

    return read


async def sent_key(request: Request) -> str | None:
    """The field `api_key` of a body, where the original took it too; None if there is none to be read."""
    body = await request.body()
    if b"api_key" not in body:
        return None
    try:
        key = parsed(request.headers.get("content-type", ""), body).get("api_key")
    except Problem:
        return None
    return key if isinstance(key, str) else None


def parsed(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a body of this type. Raises a Problem: 415, or 422 for one that is malformed."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in {JSON, FORM}:
        raise Problem(
            415,
            f"Send {JSON} or {FORM}, and say which in the header Content-Type.",
            headers={"Accept-Post": f"{JSON}, {FORM}"},
        )
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise invalid([("body", "should be UTF-8")]) from None
    return _json(text) if media_type == JSON else _form(text)


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_constant)
    except RecursionError:
        raise invalid([("body", "is nested too deeply")]) from None
    except ValueError:  # also a number of thousands of digits
        raise invalid([("body", "should be JSON")]) from None
    if not isinstance(value, dict):
        raise invalid([("body", 'should be a JSON object, such as {"tag": "MY_USER"}')])
    return value


def _form(text: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise invalid([("body", f"should be a form of at most {MAX_FIELDS} fields in UTF-8")]) from None
    return _once(pairs)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dict; a name that comes twice is refused, as parsers read it differently."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise invalid([("body", "holds the same name twice")])
    return values


def _constant(name: str) -> NoReturn:
    raise invalid([("body", f"holds {name}, which is not JSON")])
