"""What is attached to a column and has to arrive with it: indexes, constraints, default, sequence, grants."""
