"""The durable state of lineages: checkpoints, artifacts, signatures, pending events, outbox, signals, dead letters.

`models`, `training` and `storage/registry.py` may import it; it uses `transactions` and `schema` only. Begin with
`checkpoints.py`: its docstring gives the eight steps of a commit in order.
"""
