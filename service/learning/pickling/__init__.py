"""Writes and reads an estimator's state as a pickle that may name only listed classes.

`estimators`, `engine`, `learner`, `inference`, `search` and operations may import it; it imports `catalogue`.
Begin with `codec.py`; the other files treat NumPy arrays, deep search trees and changed classes.
"""
