"""What is counted, for Prometheus: every metric of every process, in one place."""

from prometheus_client import Counter, Gauge

SESSIONS = Gauge("superimap_sessions", "IMAP sessions held by this idler, whatever they are doing")
WATCHING = Gauge("superimap_sessions_watching", "IMAP sessions that stand and wait for mail")
UNSERVED = Gauge(
    "superimap_users_unserved", "Users of this idler's shards that MAX_SESSIONS leaves unwatched"
)
SHARDS = Gauge("superimap_shards_owned", "Shards owned by this idler, of 4,096")
LOGINS = Counter("superimap_logins", "IMAP logins that succeeded")
LOGIN_FAILURES = Counter("superimap_login_failures", "IMAP logins that were refused")
DISCONNECTS = Counter("superimap_disconnects", "IMAP sessions that ended without being told to")
LANES = Gauge("superimap_lanes", "Endpoints that this dispatcher is working on")
POSTS = Gauge("superimap_posts_in_flight", "Webhooks under way")
ATTEMPTS = Counter("superimap_attempts", "Webhooks sent, by what came of it", ["outcome"])
UNRECORDED = Counter("superimap_attempts_unrecorded", "Attempts whose outcome was lost with the database")
ARCHIVED = Counter("superimap_users_archived", "Users archived because the application answered 403")
OPENED = Counter("superimap_breakers_opened", "Times a failing endpoint's breaker opened")
DISABLED = Counter("superimap_endpoints_disabled", "Endpoints disabled: gone, or failing for five days")
MESSAGES = Counter("superimap_messages", "Mails recorded, by what became of them", ["outcome"])
