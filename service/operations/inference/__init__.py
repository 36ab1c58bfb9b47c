"""What a prediction server does: keep the champions open, take in records, log what it predicted, run queries.

Imported by `serving`, `cli` and `bootstrap`; no other package of operations imports it.
Begin with `model_cache.ModelCache`, which every request for a prediction reads.
"""
