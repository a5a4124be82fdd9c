"""Wake-ups between processes: endpoint ids through Redis, shard numbers through PostgreSQL NOTIFY."""
