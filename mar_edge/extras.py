"""Optional parts: one place that says how to install them."""

from __future__ import annotations

from importlib.util import find_spec

from mar_edge.errors import MissingExtraError


def require(package: str, extra: str, *, called: str | None = None) -> None:
    """Check that an optional package is installed.

    Args:
        package: the module to import.
        extra: of mar-edge that brings it.
        called: its name for people, where that differs.

    Raises:
        MissingExtraError: with the command that installs it.
    """
    if find_spec(package) is None:
        raise MissingExtraError(f"{called or package} is not installed. Run: pip install 'mar-edge[{extra}]'")
