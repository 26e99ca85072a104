"""Documents that are written by scripts say what the code says."""

from __future__ import annotations

import runpy

from tests.conftest import ROOT


def test_the_reference_of_recipes_is_up_to_date_and_complete() -> None:
    reference = runpy.run_path(str(ROOT / "docs" / "make" / "recipe_reference.py"))["reference"]()
    written = (ROOT / "docs" / "reference" / "recipe.md").read_text(encoding="utf-8")
    assert written == reference, "run: python docs/make/recipe_reference.py"
    undocumented = [line for line in written.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not undocumented
