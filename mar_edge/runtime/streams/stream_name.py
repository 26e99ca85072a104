"""The name of a stream, as its results and messages have it."""

from __future__ import annotations

from mar_edge.credentials import without_credentials
from mar_edge.errors import OptionError
from mar_edge.printable import printable


def checked_name(name: object) -> str:
    """Return a name that a user gave, without control characters, passwords and tokens.

    Raises:
        OptionError: if it is no text, or empty.
    """
    if not isinstance(name, str):
        raise OptionError(f"the name of a stream is {name!r}; give it as text, such as 'door'")
    name = printable(without_credentials(name))
    if not name.strip():
        raise OptionError("the name of a stream is empty; give it one, or leave it out")
    return name
