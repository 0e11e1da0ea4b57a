"""Benchmarks of time, memory and size: of conversions, of searches, and of packages as they run."""
