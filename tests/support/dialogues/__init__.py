"""Behaviour of mail servers that the public reported, by class; docs/catalogues/servers.md names the sources."""

from tests.support.dialogues import content, fetching, folders, lines, numbering, signing_in, waiting
from tests.support.dialogues.dialogue import Dialogue

BY_CLASS: dict[str, list[Dialogue]] = {
    "waiting": waiting.DIALOGUES,
    "never pushing": waiting.SILENT,
    "numbering": numbering.DIALOGUES,
    "fetching": fetching.DIALOGUES + lines.DIALOGUES,
    "folders": folders.DIALOGUES,
    "signing in": signing_in.DIALOGUES + lines.REFUSED,
    "content": content.DIALOGUES,
}
