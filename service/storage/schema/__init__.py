"""The tables as SQLAlchemy sees them, and the upgrade of a registry to the revision that this program needs.

Any module of `storage` and the migrations may import it; it imports no repository. Begin with `registry.py`;
`all_tables.py` is what migrations are compared with.
"""
