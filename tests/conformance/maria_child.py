"""A run on MariaDB in a process of its own, which goes on from the ledger: what the kill tests kill."""

import sys

from tests.conformance.maria import Shadow


def main(url: str, run_id: str, *, contract: bool = False) -> None:
    """Carry out what is left of the migration, up to and with the swap, or the contract."""
    shadow = Shadow(url, [{"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}], run_id=run_id)
    with shadow.resumed():
        shadow.finish(contract=contract)
    print("complete", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
