"""The archive's Parquet files: writing ranges of records, reading them back as events or as columns, backfilling older history.

Only `bootstrap/archive.py` imports it; operations use the protocols in `ports/archive.py`.
Begin with `schema.py` (columns and file metadata), then `range_file.py` for writing and `reader.py` for reading.
"""
