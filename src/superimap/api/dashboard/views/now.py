"""The page Now."""

from starlette.responses import Response

from superimap.api.dashboard.pages import ADMIN, Page, Pages

pages = Pages(ADMIN)


@pages.get("")
async def now(page: Page) -> Response:
    """Show whether anybody is not watched."""
    return page.show("now.html")
