"""The HTTP API: partners' connections and users, and who is asked what at the door."""
