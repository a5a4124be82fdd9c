"""Parsing of raw mails. Pure functions of bytes; none of them raises on a malformed mail."""
