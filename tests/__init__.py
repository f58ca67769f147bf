"""Changeover, tested on real servers."""
