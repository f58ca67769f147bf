"""A table, an application that keeps writing to it, and measurements of what the application feels."""
