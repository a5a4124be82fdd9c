"""Receivers for trying out webhooks: /webhook_test/…"""

import logging
import re
from typing import Any

from fastapi import Request
from fastapi.responses import PlainTextResponse

from superimap.api.request_body import JSON
from superimap.api.router import Router
from superimap.domain.events import EventKind

log = logging.getLogger(__name__)

router = Router(prefix="/webhook_test", tags=["webhook test"])

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BODY = {"requestBody": {"content": {JSON: {"schema": {"type": "object"}}}}}
_OK: dict[int | str, dict[str, Any]] = {
    200: {"description": "Received.", "content": {"text/plain": {"example": "OK"}}}
}


async def _drain(request: Request, kind: EventKind) -> PlainTextResponse:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    given = request.headers.get("webhook-id", "")
    webhook_id = given if _ID.fullmatch(given) else None
    log.info("webhook received", extra={"kind": kind.value, "webhook_id": webhook_id, "bytes": size})
    return PlainTextResponse("OK")


def _sink(kind: EventKind) -> None:
    async def sink(request: Request) -> PlainTextResponse:
        return await _drain(request, kind)

    router.add_api_route(
        f"/{kind}",
        sink,
        methods=["POST"],
        name=f"receive_{kind}",
        summary=f"Receive {kind} webhooks",
        description="Answers OK, and logs the webhook's id and size, never its content.",
        response_class=PlainTextResponse,
        openapi_extra=_BODY,
        responses=_OK,
    )


for _kind in EventKind:
    _sink(_kind)
