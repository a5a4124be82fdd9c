"""Secrets from files: `NAME_FILE` names a file that holds the value of the setting NAME."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from superimap.core.errors import SuperImapError

FILE_SUFFIX = "_FILE"
MAX_FILE_BYTES = 65_536


class SecretFileError(SuperImapError):
    """A secret cannot be read from its file. The text names variables, but neither path nor content.

    A path is not shown, because people enter the secret itself by mistake.
    """


def read_secret_files(
    names: Iterable[str], environment: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the values of those settings that have a file, by name, and a sentence for each that has an error.

    A variable that is empty counts as not set, as everywhere.
    """
    found: dict[str, str] = {}
    errors: list[str] = []
    for name in names:
        path = environment.get(name + FILE_SUFFIX)
        if not path:
            continue
        if environment.get(name):
            errors.append(f"{name} and {name}{FILE_SUFFIX} are both set; remove one of them.")
            continue
        try:
            found[name] = read_secret_file(name + FILE_SUFFIX, path)
        except SecretFileError as error:
            errors.append(str(error))
    return found, errors


def read_secret_file(variable: str, path: str) -> str:
    """Return the content of a file without the line end after it. Raises SecretFileError."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise SecretFileError(
            f"{variable} names a file that cannot be read ({reason}); correct the path or its permissions."
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise SecretFileError(f"{variable} names a file of more than {MAX_FILE_BYTES} bytes.")
    try:
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretFileError(f"{variable} names a file that is not UTF-8 text.") from None
    if not text:
        raise SecretFileError(f"{variable} names an empty file.")
    if not text.isprintable():
        raise SecretFileError(f"{variable} names a file with more than one line or with control characters.")
    return text
