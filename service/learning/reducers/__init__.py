"""How values that pickle cannot write safely are taken apart and put together: NumPy arrays and deep search trees.

`learning.pickled` imports it, and nothing else does.
Begin with `numpy_arrays.py`.
"""
