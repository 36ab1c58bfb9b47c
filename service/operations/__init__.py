"""One file per act; what acts is thin, what decides is in `service.learning`."""
