"""Schemas of portal links."""

from datetime import datetime

from pydantic import BaseModel, Field


class PortalLink(BaseModel):
    """A link that opens the portal in one browser."""

    url: str = Field(
        description="Address to send a person of yours to. It works once.",
        examples=["https://superimap.example.com/portal/open?link=3Q…"],
    )
    expires_at: datetime = Field(description="Time until which the link works, ten minutes from now.")
