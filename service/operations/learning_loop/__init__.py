"""The learner: consume the stream, learn, and commit state, position and journals together.

Imported by `operations.replay`, whose replays are sessions too, and by `cli` and `bootstrap`.
Begin with `worker.Worker`, which opens a `session.Session` per lineage; `committer` has the order of a commit.
"""
