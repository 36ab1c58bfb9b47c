"""Repositories of training: jobs and their runs, trainer leases, challengers, training reports.

Only `storage/registry.py` imports them; they may use `checkpoints`, `transactions` and `schema`, not `models`. Begin
with `jobs.py`, then `job_runs.py`.
"""
