"""Simulation of a large cluster: real rounds, balance and pacing, on simulated time."""
