"""What the new shape demands of rows: planned for the time after approval, counted by the gate before."""
