"""What the registry stores: models, versions, lineages, checkpoints, leases, challengers, archived partitions.

`domain/training`, `domain/access` and every package but learning may import it; it imports `domain/stream` and
`domain/specification`.
Begin with `registry.py`; `replay_plan.py` and `challenger.py` build on it.
"""
