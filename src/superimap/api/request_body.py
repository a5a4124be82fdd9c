"""Strict reading of request bodies, as JSON or as a form: no repeated names, and nothing beyond JSON's grammar."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError

from superimap.api.errors import Problem, field_faults, invalid_fields

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 100

Model = TypeVar("Model", bound=BaseModel)


def read_body(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """Return a dependency that reads the body into `model`; an empty body has no fields."""

    async def read(request: Request) -> Model:
        body = await request.body()
        fields = parse_fields(request.headers.get("content-type", ""), body) if body else {}
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise invalid_fields(field_faults(error.errors(include_input=False, include_url=False))) from None

    return read


async def api_key_in_body(request: Request) -> str | None:
    """Return the field `api_key` of the body, which the original accepts too; None without a readable one."""
    body = await request.body()
    if b"api_key" not in body:
        return None
    try:
        key = parse_fields(request.headers.get("content-type", ""), body).get("api_key")
    except Problem:
        return None
    return key if isinstance(key, str) else None


def parse_fields(content_type: str, body: bytes) -> dict[str, Any]:
    """Parse the fields of a body. Raises Problem: 415 for another type, 422 for a malformed body."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in {JSON, FORM}:
        raise Problem(
            415,
            f"Send {JSON} or {FORM}, and name it in the header Content-Type.",
            headers={"Accept-Post": f"{JSON}, {FORM}"},
        )
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise invalid_fields([("body", "must be UTF-8")]) from None
    return _parse_json(text) if media_type == JSON else _parse_form(text)


def _parse_json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_unique_names, parse_constant=_refuse_constant)
    except RecursionError:
        raise invalid_fields([("body", "is nested too deeply")]) from None
    except ValueError:  # also raised for a number with thousands of digits
        raise invalid_fields([("body", "must be JSON")]) from None
    if not isinstance(value, dict):
        raise invalid_fields([("body", 'must be a JSON object, such as {"tag": "MY_USER"}')])
    return value


def _parse_form(text: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise invalid_fields(
            [("body", f"must be a form of at most {MAX_FORM_FIELDS} fields in UTF-8")]
        ) from None
    return _unique_names(pairs)


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dict. A repeated name is refused, as parsers disagree on its value."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise invalid_fields([("body", "contains the same name twice")])
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise invalid_fields([("body", f"contains {name}, which is not JSON")])
