"""Simulation of days of failing mail servers and killed processes, in simulated time (`make simulation`)."""
