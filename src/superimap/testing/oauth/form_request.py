"""Adapter from requests of aiohttp to requests of authlib."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from aiohttp import web
from authlib.oauth2 import OAuth2Request
from authlib.oauth2.rfc6749 import OAuth2Payload


class _Payload(OAuth2Payload):  # type: ignore[misc]
    def __init__(self, values: Mapping[str, str], lists: dict[str, list[str]]) -> None:
        self._values = values
        self._lists = lists

    @property
    def data(self) -> Mapping[str, str]:
        return self._values

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return defaultdict(list, self._lists)


class FormRequest(OAuth2Request):  # type: ignore[misc]
    """A request in authlib's form, made of a query and a form that have been read."""

    def __init__(self, request: web.BaseRequest, form: Mapping[str, str]) -> None:
        super().__init__(request.method, str(request.url), headers=request.headers)
        values = {**request.query, **form}
        self.payload = _Payload(values, {name: [value] for name, value in values.items()})
        self._args = request.query
        self._form = form

    @property
    def args(self) -> Mapping[str, str]:
        """Return the parameters of the query."""
        return self._args

    @property
    def form(self) -> Mapping[str, str]:
        """Return the parameters of the body."""
        return self._form
