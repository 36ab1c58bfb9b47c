"""What is known of a model's quality: drift of its monitors, metrics over any window, what its champions scored.

Imported by `operations.retraining` and `inference`, and by `serving`, `cli` and `bootstrap`.
Begin with `drift.drift_status`; `scored_history` and `recorded` read the history that monitors and curves look at.
"""
