"""Statements about the people who use the dashboard: accounts, sessions, links and forms."""
