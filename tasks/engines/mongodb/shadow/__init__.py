"""A collection of MongoDB made anew beside the old one, in step with it, that takes its name in one moment."""
