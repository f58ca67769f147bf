"""What every database does that takes rows of another: the order of things, whatever its SQL."""
