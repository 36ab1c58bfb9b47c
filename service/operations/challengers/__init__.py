"""Judging challengers beside the champion, and asking for the promotion of one.

Imported by `scheduling`, `serving`, `cli` and `bootstrap`; no other package of operations imports it.
Begin with `judge.ChallengerJudge`, which the trainer calls for every model.
"""
