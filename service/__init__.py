"""Headrace keeps machine-learning models fresh on a stream."""
