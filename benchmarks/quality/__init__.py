"""Benchmarks of what compression does to a model, and of what detection finds in one."""
