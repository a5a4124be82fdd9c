"""The picture of a trace in the documentation."""
