"""A working folder from a stranger: what Python, the loader or a library would take as code if it looked there."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

LIBRARIES = ("libc.so.6", "libcuda.so.1", "libgomp.so.1", "libm.so.6", "libstdc++.so.6", "libz.so.1")
SETTINGS = (".env", "matplotlibrc", "pyvenv.cfg", "qt.conf")


def write_hostile(folder: Path, modules: Iterable[str] | None = None) -> set[Path]:
    """Fill a folder with modules, libraries and settings.

    Args:
        folder: where to.
        modules: names of the modules; by default all of the standard library and of what is installed here.

    Returns:
        The files. Whoever imports a module gets a file `ran-NAME` there, and an error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if modules is None:
        modules = {*sys.stdlib_module_names, *packages_distributions(), "sitecustomize", "usercustomize"}
    files = {folder / f"{name}.py" for name in modules if name.isidentifier() and name != "mar_edge"}
    for path in files:
        path.write_text(
            f"open({str(folder / f'ran-{path.stem}')!r}, 'w')\nraise ImportError('from the working folder')\n"
        )
    for name in (*LIBRARIES, *SETTINGS):
        (folder / name).write_text("hostile\n")
    return files | {folder / name for name in (*LIBRARIES, *SETTINGS)}
