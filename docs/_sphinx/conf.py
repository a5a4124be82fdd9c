"""Sphinx configuration of the documentation site; `make docs` builds it into build/docs.

The sources are the repository's Markdown pages as they are read in any viewer, so links between pages work in
both places. The theme and the search index are local files: the site works offline.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "SuperIMAP"
html_title = "SuperIMAP"
extensions = ["myst_parser", "api_reference", "repository_pages"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md"]
exclude_patterns = [
    ".venv*",
    ".git",
    ".cache",
    "build",
    "dist",
    "src",
    "tests",
    "trials",
    "benchmarks",
    "deploy",
]

html_theme = "furo"
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_additional_pages = {"index": "redirect.html"}
templates_path = ["templates"]

myst_heading_anchors = 4
highlight_language = "text"
