"""The embedded log: topics, partitions, offsets and retention in one SQLite file, for use without a broker.

Only `bootstrap` imports it.
Begin with `schema.py` for the file, then `source.py` and `sink.py`.
"""
