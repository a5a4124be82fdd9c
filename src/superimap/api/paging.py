"""Links to the next page of a list."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response

NEXT_PAGE: Mapping[str, Any] = {
    "Link": {"description": 'URL of the next page, as `<url>; rel="next"`.', "schema": {"type": "string"}}
}
"""Description of the header that `link_next` sets."""


def link_next(request: Request, response: Response, base: str, name: str, cursor: object) -> None:
    """Lead to the next page: the same request without its key, with another cursor in the parameter `name`."""
    query = [pair for pair in request.query_params.multi_items() if pair[0] not in {name, "api_key"}]
    url = f"{base}{request.url.path}?{urlencode([*query, (name, cursor)])}"
    response.headers["Link"] = f'<{url}>; rel="next"'
