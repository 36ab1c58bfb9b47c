"""What a version may be called."""

ALIAS_PATTERN = r"[A-Za-z][A-Za-z0-9_.-]{0,62}"
