"""Reading a model's stream again, from the archive where it holds it, else from the stream; and its exclusions.

Imported by every package of operations that reads records; imports `leases`, `retry`, `services` and `ports` at most.
Begin with `reader.HistoryReader`; `record_runs` cuts what is read, `exclusion_filter` leaves out what is excluded.
"""
