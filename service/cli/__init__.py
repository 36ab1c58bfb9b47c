"""The command line: one file a noun; thin functions over the composition root."""
