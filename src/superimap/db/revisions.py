"""Schema revisions that this version contains, read from the names of the migration files without Alembic."""

from pathlib import Path


def migrations_folder() -> Path:
    """Return the folder of the migrations: in an installed wheel, or else beside the sources."""
    packaged = Path(__file__).resolve().parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "migrations"


def known_revisions() -> list[str]:
    """Return the ids of all revisions, oldest first; the last one is the schema that this code needs.

    A migration's file is named `<revision>_<subject>.py`, its revision is the number of the migration, and each
    revision follows the number before it. A test compares this with Alembic's script directory.
    """
    files = (migrations_folder() / "versions").glob("[0-9]*_*.py")
    return sorted(file.name.partition("_")[0] for file in files)
