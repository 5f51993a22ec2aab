"""Models and weights in files, and a native library."""

import tempfile
from pathlib import Path

import weft as wf
from weft import nn

net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
x = wf.ones((3, 2, 2))
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "net.onnx"
    wf.save(net, path, example=x, dynamic={"batch": (0, 0)})
    print(wf.verify(path), wf.load(path)(x))
    wf.save_weights(net, path.with_suffix(".safetensors"))
    print(wf.load_weights(net, path.with_suffix(".safetensors")).missing_keys)
    print(wf.export(net, Path(folder) / "build", example=x))
    net.load_state_dict(net.state_dict())
