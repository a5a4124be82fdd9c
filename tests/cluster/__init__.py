"""Tests of the whole cluster with real processes: status, scaling, kills, pauses and outages."""
