"""A fake IMAP server in memory, and a scripted one for exact byte sequences."""
