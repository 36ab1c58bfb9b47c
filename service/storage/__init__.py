"""The registry in SQL (SQLite or PostgreSQL) and the artifacts; every SQL query of the registry is in this package.

Only `bootstrap` (and `cli` for upgrades and keys) imports it; operations use the protocols in `ports/registry.py`.
Begin with `registry.py`, which lists every repository, then `database.py` for transactions.
"""
