"""Behaviour of mail servers that the public reported, by class; docs/catalogues/servers.md names the sources."""

from tests.support.dialogues import content, fetching, folders, numbering, signing_in, waiting
from tests.support.dialogues.dialogue import Dialogue

# Numbers whose required behaviour is not implemented; they have no row in the catalogue.
NOT_YET = {"S002", "S003"}
_ALL: dict[str, list[Dialogue]] = {
    "waiting": waiting.DIALOGUES,
    "never pushing": waiting.SILENT,
    "numbering": numbering.DIALOGUES,
    "fetching": fetching.DIALOGUES,
    "folders": folders.DIALOGUES,
    "signing in": signing_in.DIALOGUES,
    "content": content.DIALOGUES,
}
BY_CLASS = {
    kind: [each for each in dialogues if each.number not in NOT_YET] for kind, dialogues in _ALL.items()
}
