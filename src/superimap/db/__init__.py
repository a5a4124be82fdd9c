"""The database: schema, connections, and one function per statement."""
