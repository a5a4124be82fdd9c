"""What does it cost? Benchmarks that anyone can run, each with its far end in a process of its own."""
