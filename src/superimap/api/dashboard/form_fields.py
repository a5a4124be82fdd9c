"""Fields of the dashboard's forms: what a form shows, what was changed in it, and what is wrong with it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from superimap.api.dashboard.page import Page
from superimap.api.dashboard.render import visible
from superimap.db.accounts.constraints import ValueTaken
from superimap.db.errors import Conflict, Forbidden, Invalid, RequestError, TooMany

CORRECTABLE = (Invalid, Conflict, Forbidden, TooMany)
"""Errors of a request that a person can correct in the form."""
UNCHANGED = "unchanged"
"""What the empty field of a stored secret shows."""
MAX_NUMBER_DIGITS = 18
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class FieldKind(StrEnum):
    """How a field is entered."""

    TEXT = "text"
    URL = "url"
    NUMBER = "number"
    DECIMAL = "decimal"
    LINES = "lines"  # several values, one in each line
    DATE = "date"
    CHECK = "check"
    CHOICE = "choice"
    SECRET = "secret"  # noqa: S105 - never shown; an empty field changes nothing
    SECRET_LINES = "secret-lines"  # noqa: S105 - the same, such as a private key


SECRETS = frozenset({FieldKind.SECRET, FieldKind.SECRET_LINES})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form. `choices` are values with what people read; `has_secret` says that one is stored."""

    name: str
    label: str
    kind: FieldKind = FieldKind.TEXT
    hint: str = ""
    choices: Sequence[tuple[str, str]] = ()
    is_required: bool = False
    has_secret: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """Fields with the values that are shown. `faults` belong to a field each, `fault` to the form as a whole."""

    fields: Sequence[Field]
    values: Mapping[str, str]
    faults: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


def form_of(fields: Sequence[Field], row: Mapping[str, Any]) -> Form:
    """Return the form that shows the present values; a field without one is empty."""
    return Form(fields, {each.name: _shown(each, row.get(each.name)) for each in fields})


def read_form(page: Page, fields: Sequence[Field], before: Form | None = None) -> dict[str, Any]:
    """Return the values that were sent; of a form that showed `before`, those that differ. Raises Invalid."""
    values: dict[str, Any] = {}
    for each in fields:
        given = _given(page, each)
        is_unchanged = (
            not given if each.kind in SECRETS else before is not None and given == before.values[each.name]
        )
        if not is_unchanged:
            values[each.name] = _value(each, given)
    return values


def refused(page: Page, fields: Sequence[Field], error: RequestError) -> Form:
    """Return the form with what the person entered, except secrets, and what is wrong with it."""
    values = {each.name: "" if each.kind in SECRETS else visible(_given(page, each)) for each in fields}
    names = {each.name for each in fields}
    if isinstance(error, Invalid) and error.field in names:
        return Form(fields, values, {error.field: f"{error.reason[:1].upper()}{error.reason[1:]}."})
    if isinstance(error, ValueTaken) and error.field in names:
        return Form(fields, values, {error.field: str(error)})
    return Form(fields, values, fault=str(error))


def _given(page: Page, each: Field) -> str:
    """Return what was entered in a field: a secret as it is, anything else without blanks around it."""
    if each.kind in SECRETS:
        return str((page.form or {}).get(each.name, ""))
    text = page.field(each.name)
    return "\n".join(_lines(text)) if each.kind is FieldKind.LINES else text


def _value(each: Field, given: str) -> Any:
    match each.kind:
        case FieldKind.CHECK:
            return bool(given)
        case FieldKind.LINES:
            return _lines(given)
        case FieldKind.NUMBER | FieldKind.DECIMAL | FieldKind.DATE:
            return _PARSERS[each.kind](each.name, given) if given else None
    return given


def _shown(each: Field, value: Any) -> str:
    match value:
        case _ if each.kind in SECRETS:
            return ""
        case False if each.kind is FieldKind.CHOICE:
            return "off"
        case None | False:
            return ""
        case True:
            return "on"
        case list() | tuple():
            return "\n".join(str(visible(str(part))) for part in value)
    return str(visible(str(value)))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _number(name: str, given: str) -> int:
    if not (given.isascii() and given.isdecimal() and len(given) <= MAX_NUMBER_DIGITS):
        raise Invalid(name, "must be a whole number")
    return int(given)


def _decimal(name: str, given: str) -> float:
    if not _DECIMAL.fullmatch(given):
        raise Invalid(name, "must be a number, such as 2.5")
    return float(given)


def _end_of_day(name: str, given: str) -> datetime:
    """Return the end of a day in UTC."""
    try:
        day = datetime.strptime(given, "%Y-%m-%d")
    except ValueError:
        raise Invalid(name, "must be a day, such as 2027-01-31") from None
    return day.replace(hour=23, minute=59, second=59, tzinfo=UTC)


_PARSERS = {FieldKind.NUMBER: _number, FieldKind.DECIMAL: _decimal, FieldKind.DATE: _end_of_day}
