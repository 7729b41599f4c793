"""Python runs this when it starts, for the folder is on PYTHONPATH: a child lacks what the tests that started it lack."""

import importlib.util
import pathlib

_path = pathlib.Path(__file__).parents[1] / "lacking.py"
_spec = importlib.util.spec_from_file_location("lacking", _path)
assert _spec is not None
assert _spec.loader is not None
_lacking = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_lacking)
_lacking.lack()
