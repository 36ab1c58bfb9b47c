"""Real services for tests: a Kafka broker and a PostgreSQL server, each on its own data directory."""
