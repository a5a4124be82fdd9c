"""Statements of the API and the command line: partners, connections, users, providers."""
