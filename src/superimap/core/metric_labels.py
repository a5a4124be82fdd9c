"""Labels of metrics whose number of values is bounded."""

MAX_PROVIDERS = 50
"""Providers that have a label of their own in one process."""
OTHER_PROVIDERS = "other"


class ProviderLabels:
    """Label values for providers: their codes, in the order in which they come, and `other` for those beyond."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, code: str) -> str:
        """Return the label of the provider with this code."""
        if code in self._known:
            return code
        if len(self._known) >= MAX_PROVIDERS:
            return OTHER_PROVIDERS
        self._known.add(code)
        return code


PROVIDERS = ProviderLabels()
"""Of the metrics about sessions in this process."""
