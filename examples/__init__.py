"""Migrations to read and run."""
