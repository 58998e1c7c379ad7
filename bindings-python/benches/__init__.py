"""Benchmarks of the Python host against its peers: `python -m benches`, or `make bench-python`."""
