"""The two doors of the dashboard, their menus, and what a page says after an action."""

ADMIN, PORTAL = "admin", "portal"
MENUS = {
    ADMIN: (
        ("Now", ""),
        ("Deliveries", "/deliveries"),
        ("Jobs", "/jobs"),
        ("Partners", "/partners"),
        ("Providers", "/providers"),
        ("Tracers", "/tracers"),
        ("Cluster", "/cluster"),
        ("Operators", "/operators"),
        ("Audit log", "/audit"),
        ("System", "/system"),
    ),
    PORTAL: (
        ("Overview", ""),
        ("Mailboxes", "/mailboxes"),
        ("Deliveries", "/deliveries"),
        ("Jobs", "/jobs"),
        ("Keys", "/keys"),
        ("Check a signature", "/signature"),
    ),
}
NOTICES = {
    "archived": "The mailbox is archived. Nobody watches it.",
    "restored": "The mailbox is restored.",
    "retried": "The idler was told to try now.",
    "reread": "The mail will be read again within a minute.",
    "replayed": "The webhook is due again.",
    "cancelled": "The webhook is cancelled.",
    "job-cancelled": "The job ends after its present batch. What it has done stays.",
    "sweep-started": "The sweep begins within some seconds.",
    "sweep-paused": "The sweep pauses after its present batch.",
    "sweep-resumed": "The sweep goes on.",
    "sweep-cancelled": "The sweep ends after its present batch. Webhooks that are recorded are sent.",
    "enabled": "The endpoint is enabled again.",
    "created": "It is created.",
    "logging": "The log begins within some seconds.",
    "saved": "The changes are saved.",
    "deleted": "It is deleted.",
    "revoked": "The token is revoked.",
    "ended": "The session is ended.",
    "unlocked": "The operator may try passwords again.",
    "unchanged": "Nothing was changed.",
}
"""What a page says after an action: the value of the parameter `done`. Nobody else can put words there."""
