"""How is a body read? As JSON or as a form, strictly: each name once, and nothing that JSON does not know."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError

from superimap.api.errors import Problem, field_faults, invalid_fields

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 100

Model = TypeVar("Model", bound=BaseModel)


def read_body(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A dependency that reads the body into `model`; an empty body has no fields."""

    async def read(request: Request) -> Model:
        body = await request.body()
        fields = parse_fields(request.headers.get("content-type", ""), body) if body else {}
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise invalid_fields(field_faults(error.errors(include_input=False, include_url=False))) from None

    return read


async def api_key_in_body(request: Request) -> str | None:
    """The field `api_key` of a body, where the original took it too; None if there is none to be read."""
    body = await request.body()
    if b"api_key" not in body:
        return None
    try:
        key = parse_fields(request.headers.get("content-type", ""), body).get("api_key")
    except Problem:
        return None
    return key if isinstance(key, str) else None


def parse_fields(content_type: str, body: bytes) -> dict[str, Any]:
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
        raise invalid_fields([("body", "should be UTF-8")]) from None
    return _parse_json(text) if media_type == JSON else _parse_form(text)


def _parse_json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_unique_names, parse_constant=_refuse_constant)
    except RecursionError:
        raise invalid_fields([("body", "is nested too deeply")]) from None
    except ValueError:  # also a number of thousands of digits
        raise invalid_fields([("body", "should be JSON")]) from None
    if not isinstance(value, dict):
        raise invalid_fields([("body", 'should be a JSON object, such as {"tag": "MY_USER"}')])
    return value


def _parse_form(text: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise invalid_fields(
            [("body", f"should be a form of at most {MAX_FIELDS} fields in UTF-8")]
        ) from None
    return _unique_names(pairs)


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dict; a name that comes twice is refused, as parsers read it differently."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise invalid_fields([("body", "holds the same name twice")])
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise invalid_fields([("body", f"holds {name}, which is not JSON")])
