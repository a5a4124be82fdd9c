"""Read-only statements for people: messages, deliveries, statuses, the cluster."""
