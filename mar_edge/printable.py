"""Makes foreign text safe to print: control characters become visible escapes, such as backslash x1b for ESC.

Labels, file names, recipe keys and messages of libraries may contain them. A terminal obeys control sequences: they write the
clipboard, change the title, or clear the screen; bidirectional overrides display a text in another order than it has.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_LAYOUT = "\n\t"
_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u2028\u2029"  # separators of lines and paragraphs
    "\u202a-\u202e\u2066-\u206f"  # bidirectional embeddings, overrides and isolates; deprecated format characters
    "\ufff9-\ufffb"  # annotations, which hide text
    "\ud800-\udfff"  # lone surrogates: bytes of a file name that are not UTF-8
    "]"
)


def printable(text: str) -> str:
    """Return a text as one line without control characters; line breaks and tabs become escapes, too.

    Letters of all scripts, combining marks, joiners and emoji stay. The result is unchanged by a second call.
    """
    return _UNSAFE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """Return a text without control characters except line breaks and tabs."""
    return _UNSAFE.sub(lambda one: one[0] if one[0] in _LAYOUT else _escape(one), text)


def shown_spaces(label: str) -> str:
    """Return a label in quotes if spaces at its ends would not be seen."""
    return label if label == label.strip() else f"'{label}'"


def plain(text: str) -> str:
    """Return a name or a label unchanged.

    Raises:
        ValueError: if it contains control characters; the message shows them as escapes.
    """
    if _UNSAFE.search(text):
        raise ValueError(f"'{printable(text)}' contains control characters. Rename it")
    return text


def typed(path: Path) -> str:
    """Return a path as typed in a shell; one that begins with a dash would be taken for an option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def _escape(one: re.Match[str]) -> str:
    return one[0].encode("unicode_escape").decode()
