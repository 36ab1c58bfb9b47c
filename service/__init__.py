"""Headrace keeps machine-learning models fresh on a stream.

Imports between its packages point down only; docs/architecture.md has a line on each of them.
Begin with `cli/app.py` for what users call, or `operations/learning_loop/worker.py` for the loop that learns.
"""
