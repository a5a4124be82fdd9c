"""The guarantee on other people's IMAP servers: Dovecot, Cyrus, Courier and GNU mailutils."""
