"""The truth: schema, engine, and one function per statement."""
