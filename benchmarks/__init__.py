"""Benchmarks that compare Headrace with plainer ways of doing the same work, each measured in one run."""
