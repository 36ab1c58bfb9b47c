"""Holds one lineage's state and what a run of records does to it: guard, join, predict, score, learn.

`inference` (for `state.py`) and operations may import it; it imports `guard`, `labels`, `engine`, `metrics`, `monitors`
and `pickling`. Begin with `learner.py`, then `state.py` for the bytes a checkpoint keeps.
"""
