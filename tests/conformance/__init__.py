"""Every operation on every kind of table: there, back, there again, and the old shape gone for good."""
