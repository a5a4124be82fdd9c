"""Parts that several schemas share: the base of request bodies, lenient values, problems and health."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _number_as_text(value: object) -> object:
    """Accept a number where text is expected, as JSON clients in Ruby or PHP send a numeric tag."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


LenientText = Annotated[str | None, BeforeValidator(_number_as_text)]
LenientTag = Annotated[str, BeforeValidator(_number_as_text)]
Switch = Annotated[bool | None, BeforeValidator(lambda value: None if value == "" else value)]


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - which pydantic reports
    return None if value == "" else value


Number = Annotated[int | None, BeforeValidator(_number)]
"""A number, or the digits of a form; blank clears the value."""


class RequestBody(BaseModel):
    """Fields of a request. Unknown ones are ignored: clients of the original send some."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    def sent_fields(self) -> dict[str, Any]:
        """Return the fields that were sent, without defaults."""
        return self.model_dump(exclude_unset=True)


class FieldFault(BaseModel):
    """A field that is wrong, and what a valid value looks like."""

    field: str
    message: str


class ProblemOut(BaseModel):
    """An error response (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="Identifies this kind of problem, for programs.")
    title: str
    status: int
    detail: str = Field(description="What went wrong and what to do about it, for people.")
    errors: list[FieldFault] = Field(
        description="The fields that are wrong; empty if the cause is not a field."
    )


class Health(BaseModel):
    """State of the process."""

    status: str = Field(examples=["ok"])
