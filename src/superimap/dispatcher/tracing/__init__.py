"""Traces of mails, exported by OTLP. Nothing here runs unless TRACES_URL is set."""
