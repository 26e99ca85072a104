"""Optional parts: one place that says how to install them."""

from __future__ import annotations

from importlib.util import find_spec

from mar_edge.errors import MissingExtraError


def require(package: str, extra: str) -> None:
    """Check that an optional package is installed.

    Raises:
        MissingExtraError: with the command that installs it.
    """
    if find_spec(package) is None:
        raise MissingExtraError(f"{package} is not installed. Run: pip install 'mar-edge[{extra}]'")
