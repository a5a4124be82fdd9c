"""Sphinx extension: adapts the repository's Markdown to the site.

- A link to a folder of the repository becomes plain text. Links to files stay links, and a link to a page that
  does not exist stays an error of the strict build.
- The README of a folder becomes the parent of the other pages of that folder in the navigation.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

LINK = re.compile(r"\[([^\]]+)\]\(([^)\s:#]+)\)")
SIBLINGS = "\n\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("source-read", adapt_page)
    return {"parallel_read_safe": True}


def adapt_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Adapt one page, whose text is `source[0]`."""
    folder = (Path(app.srcdir) / page).parent
    source[0] = LINK.sub(lambda link: link[1] if (folder / link[2]).is_dir() else link[0], source[0])
    is_parent = len(list(folder.glob("*.md"))) > 1
    if page.startswith("docs/") and page.endswith("/README") and is_parent:
        source[0] += SIBLINGS
