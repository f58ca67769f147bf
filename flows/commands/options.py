"""Options that several commands share."""

from typing import Annotated

import typer

Target = Annotated[
    str,
    typer.Argument(
        metavar="SPEC|NAME",
        help="Path of a spec (YAML or JSON), pgroll: and that of a file of pgroll, or the name of a migration.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a migration that the ledger knows.")]
ProfileName = Annotated[
    str,
    typer.Option(
        "--profile",
        "-p",
        envvar="CHANGEOVER_PROFILE",
        help="Name or path of the profile: which databases, under which limits.",
    ),
]
DatabaseName = Annotated[
    str, typer.Option("--database", "-d", help="Which database of the profile; a spec names its own.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for other programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for the name of the database.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's logs, and tracebacks without secrets.")]
Person = Annotated[
    str, typer.Option("--as", metavar="PERSON", help="Who decides; CHANGEOVER_ACTOR or the login name unless given.")
]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why, for the record.")]
