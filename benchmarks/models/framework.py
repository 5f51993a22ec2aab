"""``nn``, ``F`` and ``optim`` of the framework that this process measures: the models are one text for Weft and
PyTorch. An environment of a peer has no Weft."""

from __future__ import annotations

import importlib
import importlib.util

name = "weft" if importlib.util.find_spec("weft") else "torch"
framework = importlib.import_module(name)
nn = importlib.import_module(f"{name}.nn")
F = importlib.import_module(f"{name}.nn.functional")
optim = importlib.import_module(f"{name}.optim")
