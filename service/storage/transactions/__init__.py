"""Functions that read and write rows inside a transaction that a repository has opened; leases and their holders.

Repositories in `models`, `training`, `checkpoints` and `access` import them; they never open or commit a transaction.
Begin with `writes.py` (what is written) and `leases.py` (the statement that must come first).
"""
