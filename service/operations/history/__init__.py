"""Reads a model's past records again, from the archive if it holds them, else from the stream; and its exclusions.

Imported by every package of operations that reads records; of operations it imports only `retry` and `services`.
Begin with `reader.HistoryReader`; `record_runs` cuts what is read, `exclusion_filter` leaves out what is excluded.
"""
