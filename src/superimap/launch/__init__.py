"""Composition of processes: the three services, `superimap up`, the demo and the bundled engines."""
