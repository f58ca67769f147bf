"""Great Expectations suites that users bind to a gate by name."""
