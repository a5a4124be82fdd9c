"""Shards, the unit in which idlers share users, and the NOTIFY channels that announce changes to idlers."""

SHARD_COUNT = 4096

# The payload is a shard whose users changed.
USERS_CHANNEL = "superimap_users"

# The payload is the id of the idler that is to read the cluster, or EVERY_IDLER.
SHARDS_CHANNEL = "superimap_shards"
EVERY_IDLER = ""

# The payload is the shard of a user with a sweep that was created or changed.
SWEEPS_CHANNEL = "superimap_sweeps"
