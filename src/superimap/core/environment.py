"""Settings from the environment: reading, error reports, and the values in effect."""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, SecretStr, ValidationError

from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.errors import SuperImapError
from superimap.core.key_providers import BUILT_IN, KeyProviderError, provided_keys
from superimap.core.secret_files import FILE_SUFFIX, read_secret_files
from superimap.core.setting_types import mask_password


class SettingsError(SuperImapError):
    """One or more settings are missing or invalid. The text has one line per variable, with what is expected."""


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings from the environment and from files; `overrides` (by field name) take precedence.

    Raises SettingsError with one line per invalid variable. The lines never contain a secret.
    """
    given = dict(overrides or {})
    names = [variable_name(field) for field in secret_fields() if field not in given]
    read, errors = read_secret_files(names, os.environ)
    values = {name.lower(): value for name, value in read.items()}
    if "encryption_key" not in given:
        errors += _read_keys(values)
    if errors:
        raise SettingsError("\n".join(errors))
    try:
        return Settings(**(values | given))
    except ValidationError as error:
        raise SettingsError("\n".join(_line(each) for each in error.errors())) from None


def secret_fields() -> list[str]:
    """Return the settings that are secret or contain one; each may be read from a file."""
    return [
        name
        for name, field in Settings.model_fields.items()
        if not field.repr or SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))
    ]


def is_given(field: str) -> bool:
    """Whether the environment sets this field, by its variable or by a file."""
    names = [*variable_names(field), *(name + FILE_SUFFIX for name in variable_names(field))]
    if field == "encryption_key" and os.environ.get("KEY_PROVIDER", "environment") not in BUILT_IN:
        return True
    return any(name in os.environ for name in names)


def _read_keys(values: dict[str, str]) -> list[str]:
    """Put the keys of KEY_PROVIDER into the values; returns what is wrong."""
    provider = os.environ.get("KEY_PROVIDER") or "environment"
    if provider == "environment":
        return []
    if provider == "file":
        is_complete = bool(os.environ.get("ENCRYPTION_KEY_FILE"))
        return [] if is_complete else ["ENCRYPTION_KEY_FILE is not set, and KEY_PROVIDER is file."]
    if is_set := [name for name in ("ENCRYPTION_KEY", "ENCRYPTION_KEY_FILE") if os.environ.get(name)]:
        return [f"{is_set[0]} and KEY_PROVIDER are both set; remove one of them."]
    try:
        values["encryption_key"] = provided_keys(provider, os.environ)
    except KeyProviderError as error:
        return [str(error)]
    return []


def _line(error: Any) -> str:
    """Format one validation error as `VARIABLE what is wrong`, followed by the setting's description."""
    place = str(error["loc"][0]).upper() if error["loc"] else ""
    field = _FIELDS.get(place)
    described = f" {Settings.model_fields[field].description}" if field else ""
    # A setting may have two names: report the one that is set.
    name = next((name for name in variable_names(field) if name in os.environ), place) if field else place
    if error["type"] == "missing":
        file = f" Or set {name}{FILE_SUFFIX} to a file that holds it." if field in secret_fields() else ""
        return f"{name} is not set.{described}{file}"
    message = str(error["msg"])
    if error["type"] == "value_error":  # our own sentence, which says what is expected
        return f"{name} {message.removeprefix('Value error, ')}.".lstrip()
    if error["type"] in _NUMBERS:
        return f"{name} must be {_NUMBERS[error['type']]}.{described}"
    return f"{name} {message.removeprefix('Input ').replace('should', 'must', 1)}.{described}"


_NUMBERS = {"int_parsing": "a whole number", "float_parsing": "a number"}
"""Descriptions of numeric types, by the type of pydantic's error."""


def variable_name(field: str) -> str:
    """Return the environment variable of a field."""
    return field.upper()


def variable_names(field: str) -> tuple[str, ...]:
    """Return every environment variable that sets a field, the recommended one first."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(name) for name in alias.choices if name != field)
    return (variable_name(field),)


_FIELDS = {name: field for field in Settings.model_fields for name in variable_names(field)}


def effective_values(settings: Settings) -> dict[str, object]:
    """Return every variable with its value, secrets masked, as `superimap config` prints them."""
    shown: dict[str, object] = {}
    for field in Settings.model_fields:
        value = getattr(settings, field)
        if field == "encryption_key" and isinstance(value, SecretStr):
            value = f"key {Vault.from_setting(value.get_secret_value()).describe()}"
        elif isinstance(value, SecretStr) or (value is None and field in secret_fields()):
            value = "***" if value else ""
        elif isinstance(value, tuple):
            value = ",".join(str(item) for item in value)
        elif isinstance(value, str):
            value = mask_password(value)
        shown[variable_name(field)] = value
    return shown
