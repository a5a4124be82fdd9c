"""One statement per function, in the transaction of whoever calls."""
