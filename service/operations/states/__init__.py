"""States of a model: recovers, verifies, compares, transfers and resolves them, and reads the tree of lineages.

Imported by most packages of operations, and by `serving`, `cli` and `bootstrap`; `history` does without it.
Begin with `recovery.recover`; `lineage_tree.load_lineage_tree` tells which state came from which.
"""
