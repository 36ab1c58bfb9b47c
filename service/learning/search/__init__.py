"""Searches the candidates of a retraining for the best one, in child processes; needs Optuna.

Only the training job's process may import it, and only when a search begins: Optuna is slow to load.
Begin with `search.py`, then `run_trial.py` and `trainers.py`.
"""
