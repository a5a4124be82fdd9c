"""Providers of the encryption keys: the environment, a file, or a package such as one for a KMS.

A package offers a provider by an entry point of the group `superimap.key_providers`: a class without arguments
that implements KeyProvider. KEY_PROVIDER names the entry point. An example:

    class ExampleKms:
        def read_keys(self, environment):
            blob = environment.get("EXAMPLE_KMS_BLOB")
            if not blob:
                raise KeyProviderError("EXAMPLE_KMS_BLOB is not set.")
            return [decrypt(blob)]
"""

import base64
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from superimap.core.errors import SuperImapError

ENTRY_POINT_GROUP = "superimap.key_providers"
BUILT_IN = ("environment", "file")


class KeyProviderError(SuperImapError):
    """A provider has no keys. The text is shown to the operator, so it must contain no key."""


class KeyProvider(Protocol):
    """Source of the encryption keys, asked once when a process starts."""

    def read_keys(self, environment: Mapping[str, str]) -> Sequence[bytes]:
        """Return the keys, 32 bytes each: the first encrypts, all decrypt.

        `environment` has the provider's own variables. May block for some seconds; must end by itself. Raises
        KeyProviderError. The text of any other error is not shown.
        """


def provided_keys(name: str, environment: Mapping[str, str]) -> str:
    """Return the keys of an installed provider in the format of ENCRYPTION_KEY. Raises KeyProviderError."""
    provider = _load(name)
    try:
        keys = provider.read_keys(environment)
        return ",".join(base64.b64encode(key).decode() for key in keys)
    except KeyProviderError as error:
        raise KeyProviderError(f"KEY_PROVIDER {name} has no keys: {error}") from None
    except Exception as error:
        # Not the text, which may contain a key.
        raise KeyProviderError(f"KEY_PROVIDER {name} failed with {type(error).__name__}.") from None


def _load(name: str) -> KeyProvider:
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        known = ", ".join((*BUILT_IN, *sorted(found)))
        raise KeyProviderError(
            f"KEY_PROVIDER names a provider that is not installed; it must be one of {known}. "
            "Install the package that offers it."
        )
    return _instance(found[name])


def _instance(point: EntryPoint) -> KeyProvider:
    try:
        provider: KeyProvider = point.load()()
    except Exception as error:
        raise KeyProviderError(
            f"KEY_PROVIDER {point.name} cannot be loaded ({type(error).__name__}); check its package."
        ) from None
    return provider
