"""Labelled history as columns, and its division into train, validation and test parts or folds without leaks.

`search` and operations may import it; it imports `guard`.
Begin with `dataset.py`, then `splits.py`.
"""
