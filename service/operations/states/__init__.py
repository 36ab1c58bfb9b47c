"""States of a model: recover, verify, compare, transfer and resolve them, and the tree of lineages that made them.

Imported by every package of operations but `challengers`, `reporting` and `training_data`, and by `serving`, `cli`, `bootstrap`.
Begin with `recovery.recover`; `lineage_tree.load_lineage_tree` tells which state came from which.
"""
