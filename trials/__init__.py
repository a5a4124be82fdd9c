"""Long-running checks with real processes: fault injection, cluster scenarios, fuzzing."""
