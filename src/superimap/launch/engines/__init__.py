"""PostgreSQL and Valkey as child processes, for machines that have no database.

async with embedded.postgres(data) as database_url, embedded.valkey(data) as redis_url:
    ...

On Linux the engines end with this process, even when it is killed. Elsewhere a kill -9 leaves them running, and
the next start reports it. The kernel ties them to the thread that started them, so start them from a thread that
lives as long as the process.
"""

from superimap.launch.engines.folders import EmbeddedError, default_data_folder
from superimap.launch.engines.locks import read_url
from superimap.launch.engines.postgres import postgres
from superimap.launch.engines.valkey import valkey

__all__ = ["EmbeddedError", "default_data_folder", "postgres", "read_url", "valkey"]
