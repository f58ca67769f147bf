"""Schemas, changes of them and writes, drawn at random; and what each version must see, in Python."""
