"""The narrow interfaces between the core and the world; `service.testing` has a twin of each."""
