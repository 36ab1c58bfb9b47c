"""Builds estimators, metrics and detectors from a specification's expression or from the user's factory.

`engine`, `metrics`, `monitors`, `search`, operations, config and bootstrap may import it; it imports `catalogue`,
`batch` and `pickling`.
Begin with `build.py`.
"""
