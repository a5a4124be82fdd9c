"""Mail on real third-party IMAP servers; `make servers` runs the whole trial on four of them."""
