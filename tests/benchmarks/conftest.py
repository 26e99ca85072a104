"""Lets tests import the modules of a benchmark by their names, as its scripts do."""

import sys

from tests.conftest import ROOT

sys.path.append(str(ROOT / "benchmarks" / "gestures"))
