"""What a spec asks for that only another engine has."""

from tasks.model.errors import SpecError
from tasks.model.spec import MigrationSpec


def refuse_documents(spec: MigrationSpec) -> None:
    """Refuse a change of documents on a database that has rows. Raises SpecError."""
    if spec.documents is not None:
        raise SpecError(
            f"{spec.database} is no database of MongoDB, and has no documents",
            where="documents",
            hint="Name a database of the profile whose URL starts with mongodb:// as `database`.",
        )
