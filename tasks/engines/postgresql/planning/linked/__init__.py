"""Two tables kept in step: what one writes is noted, and carried to the other when its transaction commits."""
