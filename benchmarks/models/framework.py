"""``nn`` and ``F`` of the framework that this process measures: the models are one text for Weft and
PyTorch. An environment of a peer has no Weft."""

from __future__ import annotations

import importlib
import importlib.util

_name = "weft" if importlib.util.find_spec("weft") else "torch"
framework = importlib.import_module(_name)
nn = importlib.import_module(f"{_name}.nn")
F = importlib.import_module(f"{_name}.nn.functional")
