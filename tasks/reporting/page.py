"""The account as one HTML file that needs nothing else: no script, no font, no picture from anywhere."""

import os
import tempfile
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from tasks.model.errors import StateError
from tasks.reporting.account import Account


def page(account: Account) -> str:
    """Return the page. Whatever is in the account is escaped."""
    return _template().render(a=account, title=account.migration.id)


def write(account: Account, folder: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.json` into a folder, each at once or not at all; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "report.html", folder / "report.json"
    write_file(made[0], page(account))
    write_file(made[1], account.model_dump_json(indent=2) + "\n")
    return made


def write_file(path: Path, text: str) -> None:
    """Put a text in place of a file. Raises StateError."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except OSError as error:
        raise StateError(
            f"the report cannot be written: {error.strerror}",
            where=str(path),
            hint="Name a file in a folder that exists.",
        ) from None


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["moment"] = lambda at: f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else ""
    environment.filters["seconds"] = lambda value: "" if value is None else f"{value:,.2f} s"
    environment.filters["kind"] = lambda verdict: verdict.lower().replace(" ", "-")
    return environment.get_template("page.html.jinja")
