"""From the decision to retrain to a candidate: policy, datasets, model selection, holdout evaluation, catch-up.

Imported by `scheduling`, `cli`, `serving` and `bootstrap`; no other package of operations imports it.
Begin with `decide.decide_retraining` for whether a job starts, and `search.SearchRetraining` for what the job does.
"""
