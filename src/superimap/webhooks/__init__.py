"""What a webhook is: its kinds, its bytes and its signatures. No HTTP client, no database."""
