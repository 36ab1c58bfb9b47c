"""The admin API: what the command line can do with models, over HTTP."""
