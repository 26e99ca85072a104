"""A module that is executed anew each time, so that its globals are one test's own."""

from __future__ import annotations

import importlib.util
import types


def load_afresh(source: str, *, name: str, **values: object) -> types.ModuleType:
    """Execute a module's file anew; what was loaded before stays as it is.

    Args:
        source: the module whose file is executed, e.g. `tests.fakes.gpu.cuda_driver`.
        name: what the new module is called; it is not entered into `sys.modules`.
        **values: globals that are set after it.
    """
    found = importlib.util.find_spec(source)
    assert found is not None and found.origin is not None, f"there is no module {source}"
    spec = importlib.util.spec_from_file_location(name, found.origin)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(values)
    return module
