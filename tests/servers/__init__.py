"""Real servers for the tests, and what goes between."""
