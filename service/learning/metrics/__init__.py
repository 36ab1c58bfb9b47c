"""Computes prequential metrics, cumulative and windowed, equal to river's own, and writes the score journal.

`learner`, `monitors`, `evaluation`, `search`, operations, serving, cli and config may import it; it imports
`estimators`. Begin with `prequential.py`, then `journal.py`.
"""
