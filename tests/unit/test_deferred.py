"""Imports that are put off until they are used."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from validations.deferred import put_off


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two modules: one that brings the other along."""
    (tmp_path / "co_heavy.py").write_text("ANSWER = 42\n")
    (tmp_path / "co_light.py").write_text("import co_heavy\ndef answer():\n    return co_heavy.ANSWER\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("co_heavy", "co_light"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("modules")
def test_a_module_is_imported_when_it_is_used() -> None:
    """And not when what brings it along is imported."""
    with put_off("co_heavy"):
        light = importlib.import_module("co_light")
    assert "co_heavy" not in sys.modules
    assert light.answer() == 42
    assert importlib.import_module("co_heavy").ANSWER == 42


@pytest.mark.usefixtures("modules")
def test_a_module_that_is_loaded_stays() -> None:
    """Whoever has it already must not get two of it."""
    heavy = importlib.import_module("co_heavy")
    with put_off("co_heavy"):
        light = importlib.import_module("co_light")
    assert light.co_heavy is heavy
    assert sys.modules["co_heavy"] is heavy


@pytest.mark.usefixtures("modules")
def test_what_is_missing_is_missing() -> None:
    """A stand-in does not make names up."""
    with put_off("co_heavy"):
        light = importlib.import_module("co_light")
    with pytest.raises(AttributeError, match="QUESTION"):
        _ = light.co_heavy.QUESTION


@pytest.mark.slow
def test_great_expectations_does_without_its_statistics_until_they_are_used() -> None:
    """A gate costs 80 MB less; a suite that compares distributions works all the same."""
    program = """
import sys
from validations.context import context
with context():
    assert "scipy.stats" not in sys.modules and "altair" not in sys.modules
import great_expectations.expectations.core.expect_column_kl_divergence_to_be_less_than as divergence
import scipy.stats
assert divergence.stats.entropy is scipy.stats.entropy
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
