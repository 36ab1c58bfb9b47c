"""Numbers that the stream, the learner and the archive must agree on."""

LARGEST_INTEGER = 2**63
"""Integers of features, ids and labels fit 64 bits."""
LARGEST_EXACT = 2**53
"""Up to here every integer is a float of its own."""
LARGEST_PREDICTION = 1e150
"""A prediction whose square is still finite; a model that says more has gone astray."""
