"""Prequential metrics, cumulative and windowed, equal to river's own, and the score journal they are written to.

`learner`, `monitors`, `evaluation`, `search`, operations, serving, cli and config may import it; it imports
`estimators`.
Begin with `prequential.py`, then `journal.py`.
"""
