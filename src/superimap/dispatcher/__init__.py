"""Dispatcher: claims due deliveries, POSTs them and records the attempts. Knows neither IMAP nor the API."""
