"""Answers prediction requests from a checkpoint's estimator and guard, with explanations; learns nothing.

Operations and serving may import it; it imports `guard`, `engine`, `batch`, `pickling` and `learner/state.py`.
Begin with `predictor.py`.
"""
