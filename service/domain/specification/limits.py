"""Numeric bounds that the stream, the learner and the archive share."""

LARGEST_INTEGER = 2**63
"""Bound on the integers of features, ids and labels, so that they fit 64 bits."""
LARGEST_EXACT = 2**53
"""Up to here, every integer has an exact float of its own."""
LARGEST_PREDICTION = 1e150
"""Largest accepted prediction; its square is still finite, and beyond it a model has diverged."""
