"""Every Prometheus metric, declared once; updated once a batch or checkpoint, never an event."""
