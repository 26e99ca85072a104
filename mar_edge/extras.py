"""Optional parts: reports how to install a missing one."""

from __future__ import annotations

from importlib.util import find_spec

from mar_edge.errors import MissingExtraError


def require(package: str, extra: str, *, called: str | None = None) -> None:
    """Check that an optional package is installed.

    Args:
        package: the module to import.
        extra: of mar-edge that installs it.
        called: its name for messages, if it differs.

    Raises:
        MissingExtraError: if it is not installed; the message contains the command.
    """
    if find_spec(package) is None:
        raise MissingExtraError(f"{called or package} is not installed. Run: pip install 'mar-edge[{extra}]'")
