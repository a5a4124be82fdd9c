"""Bodies of requests and responses, with the descriptions that OpenAPI shows."""
