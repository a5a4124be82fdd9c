"""Plans of all statements on a large database."""
