"""HTTP: health and metrics of a role."""
