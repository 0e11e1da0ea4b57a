"""Measurements of edgesw and of its peers: `python -m benchmarks` lists them."""
