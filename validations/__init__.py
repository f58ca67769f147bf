"""Whether a migration may go on: gates, parity, Great Expectations suites."""
