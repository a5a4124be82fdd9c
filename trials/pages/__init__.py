"""Time of every page of the dashboard on a large database, and webhooks beside people who read pages."""
