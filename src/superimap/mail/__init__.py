"""What does a raw mail say? Pure functions from bytes; none of them raises on a malformed mail."""
