"""How it happens: one verb a file, each a thin Prefect task over an engine and the ledger."""
