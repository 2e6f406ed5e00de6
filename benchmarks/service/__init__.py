"""The benchmark of the HTTP service: `python -m benchmarks.service`."""
