"""Benchmarks: each measures the platform and a reference in the same run and prints ratios. See docs/performance.md."""
