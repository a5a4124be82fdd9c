"""Foundations for every other package: settings, logging, metrics, encryption, outbound address checks."""
