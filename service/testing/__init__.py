"""In-memory twins of the ports, for tests of this package and its users: streams, archives, jobs, reports, signals.

Tests import it; production code must not (`null.py` of `metrics` is for commands that record nothing).
Begin with `stream.py`.
"""
