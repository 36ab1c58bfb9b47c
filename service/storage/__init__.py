"""The registry in SQL and its artifacts; no query is written outside of this package."""
