"""An IMAP server and a TCP proxy that misbehave on purpose."""
