"""How does SuperIMAP run on a machine with no database? It brings the real ones, as its own children.

async with embedded.postgres(data) as database_url, embedded.valkey(data) as redis_url:
    ...

On Linux the engines die with this process, also when it is killed; elsewhere a kill -9 leaves them running,
and the next start says so. They belong to the thread that started them: start them from one that lives
as long as the process.
"""

from superimap.launch.engines.errors import EmbeddedError
from superimap.launch.engines.folders import address, default_data_folder
from superimap.launch.engines.postgres import postgres
from superimap.launch.engines.valkey import valkey

__all__ = ["EmbeddedError", "address", "default_data_folder", "postgres", "valkey"]
