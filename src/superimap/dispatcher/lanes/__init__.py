"""Lanes: the deliveries of one endpoint at a time, claimed and POSTed."""
