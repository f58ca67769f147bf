"""What happens, in order: one migration strategy a file."""
