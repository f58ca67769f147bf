"""What was done: the state of every migration, its cursors, and the hash-chained audit log."""
