"""Plan in, numbers out: the plan format, sessions and backends."""
