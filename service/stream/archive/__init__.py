"""The archive's Parquet files: writes ranges of records, reads them as events or columns, and imports older history.

Only `bootstrap/archive.py` imports it; operations use the protocols in `ports/archive.py`. Begin with `schema.py`
(columns and file metadata), then `range_file.py` for writing and `reader.py` for reading.
"""
