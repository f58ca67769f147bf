"""Planning of a shadow table: what is made beside a table, and how the two change places."""
