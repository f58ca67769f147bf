"""squawk, the linter of PostgreSQL migrations, on every statement of a plan; what does not apply is said to be so."""

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.model.plan import Finding
from tasks.model.steps import ConcurrentIndex, Phase, ShortTransaction, Step, Validation

_SECONDS = 20
_STYLE = ("prefer-", "ban-char-field", "require-table-schema", "identifier-")
"""Rules about taste: notes, never warnings."""
_ANYWHERE = {
    "require-lock-timeout": "every transaction waits for a lock no longer than the lock budget of the profile",
    "require-statement-timeout": "our short transactions are bounded by the lock budget, and validations block nobody",
    "prefer-robust-stmts": "the ledger's entry commits with the step, and an invalid index is built again",
}
"""Why a rule does not apply, whoever wrote the statement: it is how steps run."""
_OURS = {
    "adding-not-nullable-field": "set over a validated check, without a scan",
    "adding-required-field": "set over a validated check, without a scan",
    "adding-foreign-key-constraint": "added NOT VALID, validated in another transaction",
    "constraint-missing-not-valid": "the table is new, or the constraint is added over an index that exists",
    "disallowed-unique-constraint": "added over an index that was built concurrently, or on a new table",
    "adding-serial-primary-key-field": "the table is new, or the key is added over an index that exists",
    "require-concurrent-index-creation": "the table is new and empty",
    "require-concurrent-index-deletion": "dropped within the swap, together with what it belongs to",
}
"""Why a rule does not apply to what the planner writes."""
_NEVER_OURS = ("ban-concurrent-index-creation-in-transaction", "ban-uncommitted-transaction", "ban-drop-database",
               "ban-truncate-cascade", "ban-alter-system-options")  # fmt: skip
_PHASES = {
    Phase.SWAP: "names move and nothing of the old shape goes: a rollback restores it",
    Phase.CONTRACT: "only in contract, after a dump that was proven to restore",
}
"""Why what breaks clients may stand in a step of ours: elsewhere it is about objects of our own, or new ones."""


def linted(steps: Sequence[Step], version: str) -> Iterator[Finding]:
    """Yield what squawk has to say: one finding for a rule and its justification, or for a step that breaks it."""
    try:
        found = [*_squawk(_short(steps), version, inside=True), *_squawk(_alone(steps), version, inside=False)]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield Finding(rule="squawk", severity="warning", message=f"could not be run: {type(error).__name__}",
                      hint="Install what requirements.lock names.")  # fmt: skip
        return
    justified: dict[tuple[str, str], int] = {}
    told: set[tuple[str, str]] = set()
    for step, rule, message, remedy in found:
        why = _justification(step, rule)
        if why:
            justified[rule, why] = justified.get((rule, why), 0) + 1
        elif (step.key, rule) not in told:
            told.add((step.key, rule))
            yield Finding(
                rule=f"squawk {rule}", severity="note" if rule.startswith(_STYLE) else "warning",
                message=message, where=step.title, hint=remedy,
            )  # fmt: skip
    for (rule, why), count in sorted(justified.items()):
        yield Finding(rule=f"squawk {rule}", severity="note", message=f"{count} × justified: {why}")


def _justification(step: Step, rule: str) -> str:
    if rule in _ANYWHERE:
        return _ANYWHERE[rule]
    if step.authored or rule in _NEVER_OURS:
        return ""
    if rule.startswith(("ban-", "renaming-")):
        return _PHASES.get(step.phase, "of an object of our own, or of a new one")
    return _OURS.get(rule, "")


def _short(steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    for step in steps:
        if isinstance(step.action, ShortTransaction | Validation) and step.action.forward:
            # Functions and triggers of our own, long, the same for every table.
            if step.phase is Phase.DUAL_WRITE:
                continue
            yield step, ";\n".join(step.action.forward) + ";\n"


def _alone(steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    for step in steps:
        if isinstance(step.action, ConcurrentIndex):
            yield step, step.action.create + ";\n"


def _squawk(texts: Iterator[tuple[Step, str]], version: str, *, inside: bool) -> list[tuple[Step, str, str, str]]:
    listed = list(texts)
    if not listed:
        return []
    with tempfile.TemporaryDirectory(prefix="changeover-") as folder:
        # Its own settings would be looked for from the working directory on.
        (Path(folder) / "squawk.toml").touch(mode=0o600)
        paths = [Path(folder) / f"{number:04}.sql" for number in range(len(listed))]
        for path, (_, text) in zip(paths, listed, strict=True):
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")
        arguments = [_binary(), "--reporter", "json", "--config", f"{folder}/squawk.toml", "--pg-version", version]
        arguments += ["--assume-in-transaction"] if inside else []
        result = subprocess.run(  # noqa: S603 - our own binary, on files of our own
            [*arguments, *map(str, paths)], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    steps = {str(path): step for path, (step, _) in zip(paths, listed, strict=True)}
    return [
        (steps[one["file"]], str(one["rule_name"]), str(one["message"]), str(one.get("help") or ""))
        for one in json.loads(result.stdout or "[]")
    ]


def _binary() -> str:
    scripts = sysconfig.get_path("scripts")
    found = shutil.which("squawk", path=f"{scripts}:{Path(sys.executable).parent}") or shutil.which("squawk")
    if found is None:
        raise FileNotFoundError("squawk")
    return found
