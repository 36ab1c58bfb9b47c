"""Writes and reads an estimator's state as a pickle that may name only listed classes.

`estimators`, `engine`, `learner`, `inference`, `search` and operations may import it; it imports `catalogue`. Begin
with `codec.py`; `class_guard.py` notices changed classes, `reducers` treats NumPy arrays and deep search trees.
"""
