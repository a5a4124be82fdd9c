"""Long-running checks: fault injection, cluster scenarios, fuzzing."""
