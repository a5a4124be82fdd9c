"""What is counted, for Prometheus: every metric of every process, in one place."""

from prometheus_client import Counter, Gauge, Histogram

SESSIONS = Gauge("superimap_sessions", "IMAP sessions held by this idler, whatever they are doing")
WATCHING = Gauge("superimap_sessions_watching", "IMAP sessions that stand and wait for mail")
UNSERVED = Gauge(
    "superimap_users_unserved", "Users of this idler's shards that MAX_SESSIONS leaves unwatched"
)
SHARDS = Gauge("superimap_shards_owned", "Shards owned by this idler, of 4,096")
SHARD_MOVES = Counter("superimap_shard_moves", "Shards that came to or left this idler, by how", ["kind"])
HEARTBEAT_AGE = Gauge("superimap_heartbeat_age_seconds", "Seconds since this idler last renewed its lease")
ROUNDS = Histogram(
    "superimap_round_seconds",
    "Seconds that an idler's rounds take: shards and sessions compared with what they should be",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
LOGINS = Counter("superimap_logins", "IMAP logins that succeeded")
LOGIN_FAILURES = Counter("superimap_login_failures", "IMAP logins that were refused")
REAUTH_REQUIRED = Counter("superimap_reauth_required", "Users told to sign in again, by why", ["code"])
DISCONNECTS = Counter("superimap_disconnects", "IMAP sessions that ended without being told to")
ROLL_OVERS = Counter(
    "superimap_roll_overs", "IMAP sessions that came back with a new access token before the old one expired"
)
TOKEN_REQUESTS = Counter(
    "superimap_token_requests", "Access tokens asked of providers, by what came of it", ["outcome"]
)
LANES = Gauge("superimap_lanes", "Endpoints that this dispatcher is working on")
POSTS = Gauge("superimap_posts_in_flight", "Webhooks under way")
ATTEMPTS = Counter("superimap_attempts", "Webhooks sent, by what came of it", ["outcome"])
UNRECORDED = Counter("superimap_attempts_unrecorded", "Attempts whose outcome was lost with the database")
ARCHIVED = Counter("superimap_users_archived", "Users archived because the application answered 403")
OPENED = Counter("superimap_breakers_opened", "Times a failing endpoint's breaker opened")
DISABLED = Counter("superimap_endpoints_disabled", "Endpoints disabled: gone, or failing for five days")
MESSAGES = Counter("superimap_messages", "Mails recorded, by what became of them", ["outcome"])
SWEEPS = Counter("superimap_sweeps", "Searches for webhooks that nothing rings for; one dispatcher does them")
OVERDUE = Gauge(
    "superimap_overdue_seconds",
    "Seconds by which the most overdue webhook is late; at the dispatcher that sweeps",
)
# Of the whole cluster, told by the dispatcher that sweeps and by no other.
CLUSTER_IDLERS = Gauge("superimap_cluster_idlers", "Idlers of the cluster, by state", ["state"])
CLUSTER_SHARDS = Gauge("superimap_cluster_shards", "Shards by who owns them", ["state"])
CLUSTER_USERS = Gauge("superimap_cluster_users", "Users by whether they are watched", ["state"])
