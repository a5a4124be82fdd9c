"""Benchmarks, each with its mail server and receiver in processes of their own, which are not measured."""
