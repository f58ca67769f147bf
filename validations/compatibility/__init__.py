"""What becomes of those who know the old schema when the new one is there."""
