"""The idler: thousands of IMAP sessions on one event loop, for the users of the shards it owns."""
