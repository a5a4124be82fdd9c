"""How do operators talk to SuperIMAP? The command `superimap`; start at `app`."""

from superimap.cli.app import app, main

__all__ = ["app", "main"]
