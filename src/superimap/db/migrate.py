"""Schema upgrades: Alembic called from code; an advisory lock admits one process at a time."""

from alembic import command
from alembic.config import Config

from superimap.db.revisions import migrations_folder

# The key of the advisory lock that a migrating process holds; others wait for it.
LOCK_KEY = 0x5153AA01
LOCK_RETRY_SECONDS = 0.1


def configuration(url: str) -> Config:
    """Return Alembic's configuration for this database."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Bring the database to the newest schema. Blocking; runs an event loop of its own."""
    command.upgrade(configuration(url), "head")
