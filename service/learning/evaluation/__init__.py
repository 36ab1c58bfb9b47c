"""Compares models: holdout metrics with bootstrap intervals, and the sequential test of a challenger.

Operations may import it; it imports `metrics`.
Begin with `holdout.py` (retraining) or `sequential_test.py` (promotion).
"""
