"""Run a script where packages are missing that are too large to travel: what imports them loads, but can do nothing.

python benchmarks/gpu/stand_ins.py SCRIPT [ARGUMENT...]
"""

import importlib.abc
import importlib.machinery
import importlib.util
import runpy
import sys
from unittest.mock import MagicMock

ABSENT = ("av", "kiwipiepy")  # PyAV: 33 MiB; Kiwi's model: 88


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, packages: tuple[str, ...]):
        self.packages = packages

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.packages:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return MagicMock(name=spec.name, __spec__=spec, __path__=[], __version__="0")

    def exec_module(self, module):
        pass


def stand_in_for_absent() -> tuple[str, ...]:
    """Let every package of `ABSENT` that is not here be imported all the same; returns which."""
    missing = tuple(name for name in ABSENT if importlib.util.find_spec(name) is None)
    if missing:
        sys.meta_path.append(_StandIns(missing))
    return missing


if __name__ == "__main__":
    stand_in_for_absent()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
