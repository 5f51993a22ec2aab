"""The programs that Weft promises to run as they stand, and programs as one writes them for PyTorch.

A program is text: it is put into a file and run as a script would be, so that errors can point at its lines.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.nn import functional as F


def run(folder: Path, text: str, **names: Any) -> dict[str, Any]:
    """Run ``text`` as a file of its own, with ``names`` as globals; the globals it leaves."""
    path = folder / "program.py"
    path.write_text(text)
    return runpy.run_path(str(path), init_globals=names)


def line_of(text: str, piece: str) -> int:
    """The number of the line that holds ``piece``."""
    return next(number for number, line in enumerate(text.splitlines(), start=1) if piece in line)


def bits(net: nn.Module) -> bytes:
    """The parameters and buffers, as bytes."""
    return b"".join(value.numpy().tobytes() for value in net.state_dict().values())


# --- define by run ------------------------------------------------------------------------------------------------

OR_GATE = """\
import weft as wf
from weft import nn, optim
from weft.nn import functional as F

x = wf.tensor([[0., 0.], [0., 1.], [1., 0.]])
y = wf.tensor([[0.], [1.], [1.]])
net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
opt = optim.Adam(net.parameters(), lr=0.05)
for step in range(500):
    loss = F.binary_cross_entropy(net(x), y)
    opt.zero_grad(); loss.backward(); opt.step()
print(net(wf.tensor([[1., 1.]])))          # the row that it never saw: close to 1
print(loss.item(), net[0].weight.grad.shape, net[0].weight.numpy())
"""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_or_gate_predicts_the_row_it_never_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    wf.manual_seed(seed)
    names = run(tmp_path, OR_GATE)
    printed = capsys.readouterr().out
    assert printed.startswith(("Tensor([[0.9", "Tensor([[1."))
    assert "(8, 2) [[" in printed
    assert names["loss"].item() < 0.01


# --- one static graph ---------------------------------------------------------------------------------------------

STATIC = """\
@wf.compile
def train_step(xb, yb):
    loss = F.cross_entropy(net(xb), yb)
    opt.zero_grad(); loss.backward(); opt.step()      # state is captured by reference and updated in place
    return loss

for xb, yb in loader:
    loss = train_step(xb, yb)              # one native call; the same bits as without @wf.compile
"""
LOOK_INSIDE = """\
print(train_step.graph(xb, yb))            # readable, verifiable IR
print(train_step.explain(xb, yb))          # table: kernel, user's line, bytes, flops, time, % of peak
"""


def classifier(seed: int = 0) -> dict[str, Any]:
    """What the program takes for granted: a network, its optimizer, batches."""
    wf.manual_seed(seed)
    net = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 3))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, 8, 6)).astype(np.float32)
    loader = [(wf.tensor(xb), wf.tensor((xb[:, :3]).argmax(axis=1))) for xb in x]
    return {"wf": wf, "F": F, "net": net, "opt": optim.Adam(net.parameters(), lr=0.05), "loader": loader}


def test_a_training_step_as_one_graph_has_the_same_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled = run(tmp_path, STATIC + LOOK_INSIDE, **classifier())
    eager = run(tmp_path, STATIC.replace("@wf.compile\n", ""), **classifier())
    assert compiled["loss"].item() == eager["loss"].item()
    assert bits(compiled["net"]) == bits(eager["net"])

    printed = capsys.readouterr().out
    assert "graph train_step(" in printed
    assert "program.py:3" in printed  # the user's line, in the graph
    assert "% of peak" in printed


def test_looking_at_a_compiled_step_changes_no_state(tmp_path: Path) -> None:
    plain, looked = run(tmp_path, STATIC, **classifier()), run(tmp_path, STATIC + LOOK_INSIDE, **classifier())
    assert bits(plain["net"]) == bits(looked["net"])


# --- control flow on values ---------------------------------------------------------------------------------------

COLLATZ = """\
@wf.compile
def collatz_steps(n):
    steps = wf.asarray(0)
    while n != 1:                          # a while node in the graph
        if n % 2 == 0: n = n // 2
        else: n = 3 * n + 1
        steps = steps + 1
    return steps
"""


def test_control_flow_on_values_runs_eagerly(tmp_path: Path) -> None:
    steps = run(tmp_path, COLLATZ.replace("@wf.compile\n", ""), wf=wf)["collatz_steps"](wf.asarray(27))
    assert (steps.item(), steps.dtype) == (111, wf.int64)


def test_control_flow_on_values_is_part_of_the_graph(tmp_path: Path) -> None:
    collatz_steps = run(tmp_path, COLLATZ, wf=wf)["collatz_steps"]
    for start, steps in ((6, 8), (27, 111), (1, 0), (97, 118)):
        found = collatz_steps(wf.asarray(start))
        assert (found.item(), found.dtype) == (steps, wf.int64)
    (loop,) = [n for n in collatz_steps.graph(wf.asarray(6)).nodes if "body" in n.params]
    assert any("true" in n.params for n in loop.params["body"].nodes)  # the if, in the while


# --- not there yet ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Model", "callbacks", "data", "jvp", "vmap", "fft"])
def test_what_is_not_there_does_not_pretend_to_be(name: str) -> None:
    assert not hasattr(wf, name)
    assert name not in wf.__all__
    with pytest.raises(
        AttributeError, match=f"module 'weft' has no attribute '{name}': .*(not there|not captured) yet"
    ):
        getattr(wf, name)


@pytest.mark.parametrize(("name", "ours"), [("cat", "wf.concat"), ("randn", "wf.random.normal"), ("long", "wf.int64")])
def test_names_of_other_libraries_lead_to_ours(name: str, ours: str) -> None:
    with pytest.raises(AttributeError, match=f"'weft' has no attribute '{name}': {ours}"):
        getattr(wf, name)


def test_every_public_name_is_there_and_listed() -> None:
    inside = {"annotations", "importlib", "TYPE_CHECKING", "Any"}
    layers = {"compiler", "core", "deploy", "graph", "interop", "llvm", "ops", "runtime", "transforms"}
    assert len(wf.__all__) == len(set(wf.__all__))
    assert [name for name in wf.__all__ if not hasattr(wf, name)] == []
    assert {name for name in vars(wf) if not name.startswith("_")} - set(wf.__all__) - inside - layers == set()


# --- functional ---------------------------------------------------------------------------------------------------

FUNCTIONAL = """\
loss, grads = wf.value_and_grad(loss_fn)(params, x, y)     # params: any nesting of dict / list / tuple
"""


def test_gradients_take_any_nesting(tmp_path: Path) -> None:
    def loss_fn(params: Any, x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        hidden = x
        for weight, bias in params["layers"]:
            hidden = wf.tanh(hidden @ weight + bias)
        return ((hidden * params["scale"] - y) ** 2).mean()

    wf.manual_seed(0)
    params = {
        "layers": [(wf.random.normal((3, 4)), wf.zeros(4)), [wf.random.normal((4, 2)), wf.zeros(2)]],
        "scale": wf.asarray(2.0),
    }
    x, y = wf.random.normal((5, 3)), wf.random.normal((5, 2))
    names = run(tmp_path, FUNCTIONAL, wf=wf, loss_fn=loss_fn, params=params, x=x, y=y)
    loss, grads = names["loss"], names["grads"]
    assert loss.item() == loss_fn(params, x, y).item()
    assert list(grads) == ["layers", "scale"]
    assert [type(layer) for layer in grads["layers"]] == [tuple, list]

    # Against the slope of the loss along the gradient, by central differences in float64.
    def shifted(step: float) -> float:
        moved = {
            "layers": [
                [(w.double() + step * dw.double()) for w, dw in zip(layer, slopes, strict=True)]
                for layer, slopes in zip(params["layers"], grads["layers"], strict=True)
            ],
            "scale": params["scale"].double() + step * grads["scale"].double(),
        }
        return loss_fn(moved, x.double(), y.double()).item()

    flat = [g for layer in grads["layers"] for g in layer] + [grads["scale"]]
    squared = sum((g * g).sum().item() for g in flat)
    assert (shifted(1e-6) - shifted(-1e-6)) / 2e-6 == pytest.approx(squared, rel=1e-5)


# --- save, reload -------------------------------------------------------------------------------------------------

SAVE = """\
wf.save(model, "digits.onnx", example=x[:1], dynamic={"batch": (0, 0)})  # whole graph + parameters, one protocol buffer (ONNX)
f = wf.load("digits.onnx"); f(x)                     # same bits; also runs in ONNX Runtime (C++, Java, JS, mobile)
wf.save_weights(net, "net.safetensors"); wf.load_weights(net, "net.safetensors")
"""  # noqa: E501


def test_saved_reloaded_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wf.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).eval()
    x = wf.random.normal((7, 8, 8))
    before = bits(net)
    names = run(tmp_path, SAVE, wf=wf, model=net, net=net, x=x)
    assert names["f"](x).numpy().tobytes() == net(x).numpy().tobytes()
    assert bits(net) == before
    assert "verified" in str(wf.verify("digits.onnx"))

    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    assert bits(other) != before
    wf.load_weights(other, "net.safetensors")
    assert bits(other) == before


# --- as one writes it for PyTorch ---------------------------------------------------------------------------------

Program = tuple[list[nn.Module], Any, Any]  # the modules, one training step, the i-th batch


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, length: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.register_buffer("mask", wf.tril(wf.ones((length, length))).view(1, 1, length, length))

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        B, T, C = x.size()
        q, k, v = (
            part.view(B, T, self.heads, C // self.heads).transpose(1, 2) for part in self.qkv(x).chunk(3, axis=-1)
        )
        weights = (q @ k.transpose(-2, -1)) / k.size(-1) ** 0.5
        weights = F.softmax(weights.masked_fill(self.mask[:, :, :T, :T] == 0, float("-inf")), dim=-1)
        return self.out((weights @ v).transpose(1, 2).contiguous().view(B, T, C))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, length: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, length)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim), nn.Dropout(0.1))

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class LanguageModel(nn.Module):
    def __init__(self, vocabulary: int, dim: int, length: int):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, dim), nn.Embedding(length, dim)
        self.blocks = nn.ModuleList([Block(dim, 2, length) for _ in range(2)])
        self.head = nn.Linear(dim, vocabulary, bias=False)
        self.head.weight = self.tokens.weight  # one parameter under two names
        self.apply(self._init)

    def _init(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)

    def forward(self, tokens: wf.Tensor, targets: wf.Tensor) -> wf.Tensor:
        x = self.tokens(tokens) + self.positions(wf.arange(tokens.size(1)))
        for block in self.blocks:
            x = block(x)
        logits = self.head(x)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


def language_model() -> Program:
    """Tied weights, a causal mask, parameter groups, clipped gradients."""
    net = LanguageModel(5, 16, 6)
    groups = [
        {"params": [p for p in net.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in net.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    opt = optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95))

    def step(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        loss = net(x, y)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        return loss

    def batch(i: int) -> tuple[wf.Tensor, ...]:
        tokens = np.random.default_rng(i).integers(0, 5, size=(4, 7))
        return wf.tensor(tokens[:, :-1]), wf.tensor(tokens[:, 1:])

    return [net], step, batch


def variational_autoencoder() -> Program:
    """Random numbers inside the step, a sum of two losses."""
    encode, mean, spread = nn.Linear(64, 16), nn.Linear(16, 3), nn.Linear(16, 3)
    decode = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 64), nn.Sigmoid())
    modules = [encode, mean, spread, decode]
    opt = optim.Adam([p for m in modules for p in m.parameters()], lr=1e-3)

    def step(images: wf.Tensor) -> wf.Tensor:
        x = images.view(-1, 64)
        hidden = F.relu(encode(x))
        mu, logvar = mean(hidden), spread(hidden)
        z = mu + wf.random.normal(mu.shape) * (0.5 * logvar).exp()
        divergence = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum()
        loss = F.binary_cross_entropy(decode(z), x, reduction="sum") + divergence
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return modules, step, lambda i: (wf.tensor(np.random.default_rng(i).random((4, 8, 8), np.float32)),)


def q_learning() -> Program:
    """A second network that follows the first, targets without gradient, one value picked a row."""
    online = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    target = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    target.load_state_dict(online.state_dict())
    target.requires_grad_(False)
    opt = optim.SGD(online.parameters(), lr=0.05, momentum=0.9)

    def step(state: wf.Tensor, action: wf.Tensor, reward: wf.Tensor, after: wf.Tensor) -> wf.Tensor:
        value = wf.take_along_axis(online(state), action.unsqueeze(1), axis=1).squeeze(1)
        with wf.no_grad():
            wanted = reward + 0.99 * target(after).max(1)[0]
        loss = F.smooth_l1_loss(value, wanted)
        opt.zero_grad()
        loss.backward()
        opt.step()
        with wf.no_grad():
            for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
                slow.assign(0.9 * slow + 0.1 * fast)
        return loss

    def batch(i: int) -> tuple[wf.Tensor, ...]:
        rng = np.random.default_rng(i)
        states = rng.normal(size=(2, 8, 4)).astype(np.float32)
        return wf.tensor(states[0]), wf.tensor(rng.integers(0, 2, 8)), wf.ones(8), wf.tensor(states[1])

    return [online, target], step, batch


def adversarial_pair() -> Program:
    """Two optimizers in one step, one graph used by both losses."""
    generator = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 2))
    critic = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    generator_opt = optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    critic_opt = optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()

    def step(real: wf.Tensor) -> wf.Tensor:
        n = real.size(0)
        fake = generator(wf.random.normal((n, 2)))
        critic_opt.zero_grad()
        loss = criterion(critic(real), wf.ones((n, 1))) + criterion(critic(fake.detach()), wf.zeros((n, 1)))
        loss.backward()
        critic_opt.step()
        generator_opt.zero_grad()
        criterion(critic(fake), wf.ones((n, 1))).backward()
        generator_opt.step()
        return loss

    return [generator, critic], step, lambda i: (wf.full((8, 2), float(i)),)


@pytest.mark.parametrize("program", [language_model, variational_autoencoder, q_learning, adversarial_pair])
def test_programs_written_for_pytorch_have_the_same_bits_compiled(program: Any) -> None:
    def trained(compiled: bool) -> tuple[list[float], list[bytes]]:
        wf.manual_seed(0)
        modules, step, batch = program()
        start = [bits(m) for m in modules]
        call = wf.compile(step) if compiled else step
        losses = [call(*batch(i)).item() for i in range(4)]
        assert all(bits(m) != before for m, before in zip(modules, start, strict=True))  # it trains
        return losses, [bits(m) for m in modules]

    assert trained(True) == trained(False)


def test_a_compiled_module_is_still_a_module() -> None:
    wf.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    compiled = wf.compile(net)
    x = wf.ones((2, 3))
    assert list(compiled.parameters()) == list(net.parameters())
    compiled.eval()
    assert not net.training
    assert compiled(x).numpy().tobytes() == net(x).numpy().tobytes()
    assert repr(compiled).startswith("<compiled Sequential(")
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'absent'"):
        compiled.absent  # noqa: B018


def test_gradient_descent_by_hand() -> None:
    wf.manual_seed(0)
    weight, bias = wf.tensor([0.0, 0.0], requires_grad=True), wf.tensor(0.0, requires_grad=True)
    x = wf.random.normal((64, 2))
    y = x @ wf.tensor([2.0, -3.5]) + 4.25
    for _ in range(100):
        ((x @ weight + bias - y) ** 2).mean().backward()
        with wf.no_grad():
            weight -= 0.1 * weight.grad
            bias -= 0.1 * bias.grad
            weight.grad.zero_()
            bias.grad.zero_()
    assert weight.tolist() == pytest.approx([2.0, -3.5], abs=1e-3)
    assert bias.item() == pytest.approx(4.25, abs=1e-3)
