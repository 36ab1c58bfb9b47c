"""What a version may be called."""

ALIAS = r"[A-Za-z][A-Za-z0-9_.-]{0,62}"
