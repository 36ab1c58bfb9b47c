"""Joins events with labels that arrive later or earlier, on event time; also served predictions.

`learner` and operations may import it; it imports `engine`.
Begin with `join.py`, then `watermark.py`.
"""
