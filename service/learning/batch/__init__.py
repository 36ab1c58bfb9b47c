"""Batch estimators of scikit-learn and LightGBM behind river's interface: fitted by a job, frozen on the stream.

`estimators`, `inference` and operations may import it; it imports nothing else of learning.
Begin with `estimators.py`; `models.py` says which bytes are accepted.
"""
