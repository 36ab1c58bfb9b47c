"""Refuses feature and label values that would corrupt a model, and learns each feature's type and range.

`learner`, `inference`, `datasets`, operations and serving may import it; of learning it imports only
`engine/columns.py`. Begin with `guard.py`; `prediction_guard.py` checks values that are only to be predicted.
"""
