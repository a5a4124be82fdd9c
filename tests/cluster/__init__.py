"""The cluster as a whole: seen, scaled, killed, frozen and cut off, with real processes."""
