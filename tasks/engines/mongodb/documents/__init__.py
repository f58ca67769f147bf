"""Documents of a collection, changed where they are, while applications write."""
