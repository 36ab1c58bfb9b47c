"""The trainer: when to look, what to start, and the processes of training jobs."""
