"""The command line `superimap`, for operators; `app` holds the tree of commands."""

from superimap.cli.app import app, main

__all__ = ["app", "main"]
