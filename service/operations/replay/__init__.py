"""Rollback by replay and backtest: learn a part of a model's history again, with or without what is excluded.

Imported by `cli`, `serving` and `operations.inference`, which runs backtests for the server.
Begin with `plan.plan_rollback`, which chooses the base state; `run.run_replay` learns from there and takes over.
"""
