"""One adapter a database, behind the narrow protocol of `tasks.engines.protocol`."""
