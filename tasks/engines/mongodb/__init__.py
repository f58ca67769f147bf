"""MongoDB: so far as the place into which rows of another database are copied."""
