"""The HTTP API for partners and operators, and the pages for people."""
