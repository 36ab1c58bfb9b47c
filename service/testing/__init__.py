"""In-memory twins of the ports, for tests of this package and of its users: stream, scripted source, archive, jobs, reports.

Tests import it; production code must not (`null.py` of `metrics` is for commands that record nothing).
Begin with `stream.py`.
"""
