"""The stress test: mail for many users while everything around it fails, a verdict and a report."""
