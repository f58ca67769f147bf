"""What each operation of a spec means on PostgreSQL: one file an operation."""
