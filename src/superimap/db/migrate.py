"""How the schema gets to where the code wants it: Alembic, run from code, serialised by a lock."""

from pathlib import Path

from alembic import command
from alembic.config import Config

# The key of the advisory lock under which one process migrates and others wait.
LOCK = 0x5153AA01
ROOT = Path(__file__).resolve().parents[3]


def configuration(url: str) -> Config:
    """Alembic's configuration for this database; migrations lie beside the sources, or in the wheel."""
    packaged = Path(__file__).resolve().parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(packaged if packaged.is_dir() else ROOT / "migrations"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Bring the database to the newest schema. Blocking, with an event loop of its own."""
    command.upgrade(configuration(url), "head")
