"""The trainer's loop and the child processes of jobs, challengers and queries: their start, their limits, their end.

Only `bootstrap` and `cli` import it; it uses `operations` for decisions and starts no thread of a model itself.
Begin with `trainer.py`, then `child_process.py`.
"""
