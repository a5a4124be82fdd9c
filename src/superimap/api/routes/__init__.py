"""The API's addresses, a module per thing."""
