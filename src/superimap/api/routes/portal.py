"""Links that open a partner's portal: /api/v1/portal/links."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, status

from superimap.api.dependencies import CallingPartner, Db, base_url, needs
from superimap.api.openapi import KEY_PROBLEMS, problem_responses
from superimap.api.router import Router
from superimap.api.schemas.portal import PortalLink
from superimap.db.operators import links
from superimap.domain.api_keys import Scope
from superimap.domain.operators import PORTAL_LINK_TIME

router = Router(prefix="/api/v1/portal", tags=["portal"])


@router.post(
    "/links",
    status_code=status.HTTP_201_CREATED,
    summary="Make a link that opens your portal",
    dependencies=[needs(Scope.KEYS)],
    responses=problem_responses(*KEY_PROBLEMS, 503),
)
async def create_portal_link(
    partner: CallingPartner, db: Db, base: Annotated[str, Depends(base_url)]
) -> PortalLink:
    """Make a link for a person of yours, such as the one who looks after the integration.

    Whoever opens it sees your mailboxes, mails and webhooks without their content, and may try again and replay.
    The browser stays signed in for 12 hours.
    """
    secret = await links.open_portal(db, partner.id)
    return PortalLink(
        url=f"{base}/portal/open?link={secret}", expires_at=datetime.now(UTC) + PORTAL_LINK_TIME
    )
