"""The allowed form of a version alias."""

ALIAS_PATTERN = r"[A-Za-z][A-Za-z0-9_.-]{0,62}"
