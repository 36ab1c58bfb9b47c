"""Takes apart and rebuilds values that pickle cannot write safely: NumPy arrays and deep search trees.

Only `learning.pickled` imports it.
Begin with `numpy_arrays.py`.
"""
