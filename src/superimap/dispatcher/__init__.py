"""What is owed gets POSTed: claims deliveries, sends them, records what came of it. Knows no IMAP and no API."""
