"""Prometheus metrics of all processes. The descriptions are the table in docs/operations.md."""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# The time at which each series was created, as a series of its own: Prometheus does not use it.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Every process.
LOG_LINES_DROPPED = Counter(
    "superimap_log_lines_dropped",
    "Log lines that nobody read in time, or that could not be written: a full disk, a closed pipe",
)
PROCESS_INFO = Gauge(
    "superimap_process_info",
    "1, with the kind of this process (`api`, `idler`, `dispatcher`, `up`) and its version",
    ["process", "version"],
)
READY = Gauge("superimap_ready", "1 if /readyz answers 200, looked up at each scrape")
LOOP_LAG_SECONDS = Gauge(
    "superimap_loop_lag_seconds",
    "Longest delay of the event loop within the last 15 to 30 s: everything in this process waited for so long",
)
TASKS = Gauge("superimap_tasks", "asyncio tasks of this process, counted at each scrape")
POOL_WAIT_SECONDS = Histogram(
    "superimap_pool_wait_seconds",
    "Wait for a connection of a database pool that had none left, by pool: `sessions` and `leases` of idlers, "
    "`lanes` of dispatchers, `api`, `dashboard` and `standby` of APIs",
    ["pool"],
    buckets=(0.001, 0.01, 0.1, 1, 10),
)
ERRORS = Counter(
    "superimap_errors",
    "Errors in the log, from `LOG_LEVEL` on, by class; `other` from the 100th class on",
    ["error"],
)
# Idlers.
SESSIONS = Gauge("superimap_sessions", "IMAP sessions that this idler holds, in any state")
SESSIONS_WATCHING = Gauge(
    "superimap_sessions_watching", "IMAP sessions that are established and wait for mail", ["provider"]
)
SESSIONS_BLIND = Gauge(
    "superimap_sessions_blind",
    "IMAP sessions whose server does not announce all mail; they are polled by STATUS as well",
)
CURSORS_REREAD = Counter(
    "superimap_cursors_reread",
    "Mailboxes that were opened again because PostgreSQL may have lost writes, as after a failover",
)
USERS_UNSERVED = Gauge(
    "superimap_users_unserved", "Users of this idler's shards that are not watched because of `MAX_SESSIONS`"
)
SHARDS_OWNED = Gauge("superimap_shards_owned", "Shards that this idler owns; 4,096 over all idlers")
SHARD_MOVES = Counter(
    "superimap_shard_moves",
    "Shards that this idler gained (`taken`, `received`) or gave up (`handed_over`, `returned`, `lost`)",
    ["kind"],
)
HEARTBEAT_AGE_SECONDS = Gauge(
    "superimap_heartbeat_age_seconds", "Seconds since this idler last renewed its lease; 0 in other processes"
)
ROUND_SECONDS = Histogram(
    "superimap_round_seconds",
    "Duration of a reconcile round: shards and sessions compared with what they should be",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
LOGINS = Counter("superimap_logins", "Successful IMAP logins", ["provider"])
LOGIN_FAILURES = Counter("superimap_login_failures", "Refused IMAP logins", ["provider"])
REAUTH_REQUIRED = Counter(
    "superimap_reauth_required",
    "Users who must sign in again, by reason: `login_refused`, `access_revoked`, `consent_required`",
    ["code"],
)
DISCONNECTS = Counter(
    "superimap_disconnects", "IMAP sessions that ended unexpectedly; each reconnects by itself", ["provider"]
)
ROLL_OVERS = Counter(
    "superimap_roll_overs",
    "IMAP sessions that reconnected with a new access token before the old one expired",
)
TOKEN_REQUESTS = Counter(
    "superimap_token_requests",
    "Access token requests to providers, by result: `given`, `refused`, `unavailable`",
    ["outcome"],
)
MESSAGES = Counter("superimap_messages", "Mails recorded, by outcome", ["outcome"])
MAILBOX_SWEEPS_RUNNING = Gauge(
    "superimap_mailbox_sweeps_running", "Sweeps of mailboxes' history that this idler runs, 8 at most"
)
MAILBOX_SWEEP_MAILS = Counter(
    "superimap_mailbox_sweep_mails",
    "Mails of sweeps of mailboxes, by what became of them: `looked_at`; of these `read` in full, `sent` as a "
    "webhook, `unreadable` at the first attempt",
    ["result"],
)
MAILBOX_SWEEP_FAILURES = Counter(
    "superimap_mailbox_sweep_failures",
    "Runs of sweeps of mailboxes that failed and are repeated, by cause: `server`, `sign_in`, `internal`: a fault "
    "in SuperIMAP, which the log describes",
    ["cause"],
)
MAILBOX_SWEEPS_ENDED = Counter(
    "superimap_mailbox_sweeps_ended", "Sweeps of mailboxes that ended: `finished`, `failed`", ["state"]
)
STAGE_BUCKETS_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 300, 3600)
MAIL_SECONDS = Histogram(
    "superimap_mail_seconds",
    "Stages of mails that were found while their mailbox was watched, by provider: `provider` from INTERNALDATE, "
    "which is a whole second, until the mail was found, unless that is more than a day: then it was moved or "
    "imported; `recording` from there until it was recorded",
    ["stage", "provider"],
    buckets=STAGE_BUCKETS_SECONDS,
)
MAILS_AHEAD = Counter(
    "superimap_mails_ahead",
    "Mails found before their INTERNALDATE, because their server's clock is ahead; not in `mail_seconds`",
    ["provider"],
)
TRACERS = Counter(
    "superimap_tracers",
    "Tracers by provider and result: `sent`, and one verdict on each: `detected`, `late` (more than 10 s after "
    "INTERNALDATE), `missing` (not there 5 minutes after it was accepted), `unsendable`",
    ["result", "provider"],
)
TRACER_MAILBOXES = Gauge(
    "superimap_tracer_mailboxes",
    "Mailboxes to which tracers are to be sent, 1,000 at most; reported by the dispatcher that sweeps",
)
TRACER_SECONDS = Histogram(
    "superimap_tracer_seconds",
    "Stages of tracers, by provider: until it was `accepted`, `internaldate`, `seen`, `fetched`, `recorded`, "
    "`claimed`, `posted`, `acknowledged`; and `arrival`, from INTERNALDATE until it was recorded",
    ["stage", "provider"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
)
# API.
QUOTA_REFUSALS = Counter(
    "superimap_quota_refusals",
    "Requests refused because of a quota: `users`, `sessions`, `requests_per_second`",
    ["quota"],
)
REQUEST_SECONDS = Histogram(
    "superimap_request_seconds",
    "Time until the response to an HTTP request starts, by method, template of the path (`other`: none) "
    "and class of the status, such as `2xx`",
    ["method", "route", "status"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
READ_REPLICA_USED = Gauge(
    "superimap_read_replica_used", "1 while this API reads lists from the standby of `DATABASE_READ_URL`"
)

# Dispatchers.
PARTNERS_AT_QUOTA = Gauge(
    "superimap_partners_at_quota",
    "Partners that have used up a quota: `users`, `sessions`, `backlog_rows`, `backlog_bytes`. While it is one of "
    "the backlog, their new mail waits at the mail server",
    ["quota"],
)
LANES = Gauge("superimap_lanes", "Endpoints that this dispatcher is working on")
POSTS_IN_FLIGHT = Gauge("superimap_posts_in_flight", "Webhooks in flight")
WEBHOOK_SECONDS = Histogram(
    "superimap_webhook_seconds",
    "Stages of webhooks: `sending` from their record until the first attempt begins; `receiver` an attempt",
    ["stage"],
    buckets=STAGE_BUCKETS_SECONDS,
)
ATTEMPTS = Counter(
    "superimap_attempts",
    "Attempts, by outcome (`delivered`, `retry`, `failed`, `archive`) and kind of webhook (`new_mail`, "
    "`user_connected`, `user_disconnected`, `events`)",
    ["outcome", "kind"],
)
TRACES = Counter("superimap_traces", "Traces of mails that the collector has accepted")
TRACES_DROPPED = Counter(
    "superimap_traces_dropped",
    "Traces that were not exported: the collector is slow (`queue_full`), does not answer (`unavailable`), "
    "refuses them (`refused`), the dispatcher has `stopped`, or they cannot be made (`unreadable`)",
    ["reason"],
)
TRACE_SPANS_REJECTED = Counter(
    "superimap_trace_spans_rejected", "Spans that the collector rejected of requests that it accepted in part"
)
ATTEMPTS_UNRECORDED = Counter(
    "superimap_attempts_unrecorded", "Attempts whose outcome was lost with the database; each is repeated"
)
CONTENT_STORE_ERRORS = Counter(
    "superimap_content_store_errors", "Failures of the object store, by operation", ["operation"]
)
USERS_ARCHIVED = Counter("superimap_users_archived", "Users archived because the application answered 403")
BREAKERS_OPENED = Counter("superimap_breakers_opened", "Times that an endpoint's circuit breaker opened")
ENDPOINTS_DISABLED = Counter(
    "superimap_endpoints_disabled", "Endpoints disabled, after a 410 or after five days of failures"
)
SWEEPS = Counter(
    "superimap_sweeps", "Searches for due deliveries without a doorbell; one a second, in one dispatcher"
)
DOORBELLS_UNHEARD = Gauge(
    "superimap_doorbells_unheard",
    "1 while dispatchers do not take all wake-ups from Redis, reported by the dispatcher that sweeps, which "
    "starts lanes itself",
)
OVERDUE_SECONDS = Gauge(
    "superimap_overdue_seconds", "Delay of the most overdue delivery, reported by the dispatcher that sweeps"
)
OWED = Gauge(
    "superimap_owed",
    "Deliveries that are not settled, of all partners, reported by the dispatcher that sweeps. At most "
    "`QUOTA_BACKLOG_ROWS` are counted for each endpoint",
)
DEAD_LETTERS = Gauge(
    "superimap_dead_letters",
    "Failed deliveries that are not replayed or deleted, reported by the dispatcher that sweeps. At most 10,000 "
    "are counted for each partner",
)
ENDPOINTS_TROUBLED = Gauge(
    "superimap_endpoints_troubled",
    "Endpoints that are held back, by state: `open` or `slow_start` (circuit breaker), or `disabled`; "
    "reported by the dispatcher that sweeps",
    ["state"],
)
# The whole cluster, reported by the dispatcher that sweeps and by no other process.
CLUSTER_IDLERS = Gauge(
    "superimap_cluster_idlers", "Idlers by state: `ready`, `full`, `stopping`, `silent`", ["state"]
)
CLUSTER_SHARDS = Gauge(
    "superimap_cluster_shards",
    "Shards by state: `owned` by a live idler, `free`, or `expired` with an unresponsive one",
    ["state"],
)
DEFERRED_MAILS = Gauge(
    "superimap_deferred_mails", "Mails of all users that could not be read yet and are tried again"
)
KEY_SEALS = Gauge(
    "superimap_key_seals", "Values that an encryption key has encrypted; it may encrypt 2^32", ["key_id"]
)
CLUSTER_USERS = Gauge(
    "superimap_cluster_users",
    "Users by state: `wanted`, `watched` (counted every 30 s, 10,000 users a second) and `unserved`",
    ["state"],
)
