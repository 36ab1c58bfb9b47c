"""Repositories of models: registration, versions and audit, changes of the champion, replays, commands, exclusions.

Only `storage/registry.py` imports them; they may use `checkpoints`, `transactions` and `schema`, not `training`. Begin
with `models.py`, then `changes.py`.
"""
