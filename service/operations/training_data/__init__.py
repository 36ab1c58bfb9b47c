"""Labelled training data from the archive: an event window without exclusions and duplicates, labels joined by id.

Imported by `operations.retraining` only.
Begin with `load.load_training_data`; `window` reads the archive backwards, `join_labels` finds each event's label.
"""
