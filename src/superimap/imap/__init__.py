"""How is IMAP spoken? Knows neither users nor a database; start at `client.connect`."""
