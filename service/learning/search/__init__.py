"""Searches the candidates of a retraining for the best one.

Nothing here is imported by learner, server or command line before a search begins: Optuna takes its time to load.
"""
