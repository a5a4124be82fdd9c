"""SuperIMAP: watches IMAP inboxes, POSTs a signed webhook for every new mail."""

__version__ = "0.1.0"
