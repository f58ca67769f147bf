"""Documents as rows of PostgreSQL: planned from what is there, looked at, and read as lines of COPY."""
