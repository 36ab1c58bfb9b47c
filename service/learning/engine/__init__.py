"""Runs an estimator over events: predict, learn, restore after a failure, in micro-batches where configured.

`guard`, `labels`, `learner`, `inference`, `search` and operations may import it; it imports `estimators` and
`pickling`. Begin with `stepper.py`; `fast_path.py` explains why river's own calls are bypassed.
"""
