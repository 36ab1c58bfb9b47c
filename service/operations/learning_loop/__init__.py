"""The learner: consume the stream, learn, and commit state, position and journals together.

Imported by `operations.replay`, which runs a replay as a session too, and by `cli` and `bootstrap`.
Begin with `worker.Worker`, which opens a `session.Session` per lineage; `committer` lists the steps of a commit.
"""
