"""What the documents say is what the code does: their programs run, their printed texts and constants are today's."""

from __future__ import annotations

import math
import re
import runpy
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.compiler import kernels
from weft.core.config import Settings
from weft.ops import elementwise
from weft.optim import sgd

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def blocks(document: str, language: str = "python") -> list[str]:
    """The fenced blocks of a document that are marked with ``language``."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


def test_the_screen_of_code_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    wf.manual_seed(0)
    exec(compile(blocks("README.md")[0], "README.md", "exec"), {})
    answer = capsys.readouterr().out
    assert answer.startswith(("Tensor([[0.9", "Tensor([[1."))


def test_the_programs_of_explanations_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("docs/explanations.md"):
        exec(compile(block, "docs/explanations.md", "exec"), names)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"step.html", "before.html", "profile.html", "trace.json"}


def test_the_programs_of_control_flow_run(tmp_path: Path) -> None:
    for n, program in enumerate(blocks("docs/control_flow.md")):
        path = tmp_path / f"program_{n}.py"  # captured code has its source from a file
        path.write_text(program)
        runpy.run_path(str(path))


def test_the_constants_of_the_contract() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", (ROOT / "docs/numerics.md").read_text(), re.MULTILINE)
    assert len(table) == 4
    assert [(name, getattr(kernels, name)) for name, _ in table] == [(name, int(value)) for name, value in table]


@pytest.mark.parametrize("n", [0, 1, 63, 65, 1000, 32_768, 32_769])
def test_a_sum_is_what_the_contract_defines(n: int) -> None:
    names: dict[str, Any] = {"REDUCE_LANES": kernels.REDUCE_LANES, "REDUCE_CHUNK": kernels.REDUCE_CHUNK}
    names |= {"identity": np.float32(0), "combine": lambda a, b: np.float32(a + b)}
    exec(blocks("docs/numerics.md")[0], names)
    x = np.random.default_rng(n).normal(size=n).astype(np.float32)
    assert names["reduce"](list(x)).tobytes() == wf.asarray(x).sum().numpy().tobytes()


def fused(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    """``a * b + c`` rounded once: the nearest float32 of the exact value, ties to even."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = np.float32(float(exact))
    around = (np.nextafter(near, np.float32(-math.inf)), near, np.nextafter(near, np.float32(math.inf)))
    return min(around, key=lambda f: (abs(Fraction(float(f)) - exact), int(f.view(np.uint32)) & 1))


@pytest.mark.parametrize("k", [0, 1, 255, 256, 257, 600])
def test_a_product_is_what_the_contract_defines(k: int) -> None:
    names: dict[str, Any] = {"K_BLOCK": kernels.K_BLOCK, "k": k, "fma": fused}
    exec(blocks("docs/numerics.md")[1], names)
    rng = np.random.default_rng(k)
    a, b = rng.normal(size=(2, k)).astype(np.float32), rng.normal(size=(k, 2)).astype(np.float32)
    expected = np.array([[names["element"](row, column) for column in b.T] for row in a], np.float32)
    assert expected.tobytes() == wf.matmul(wf.asarray(a), wf.asarray(b)).numpy().tobytes()


def test_printed_texts_in_the_architecture() -> None:
    @wf.compile
    def f(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        return x + y

    def bare(text: str) -> str:
        return re.sub(r"\w+\.py:\d+", "", text).strip()

    x = wf.ones(1000)
    document = (ROOT / "docs/architecture.md").read_text()
    assert bare(str(f.graph(x, x))) in bare(document)
    (kernel,) = f.kernels(x, x)
    assert str(kernel) in document


def test_the_optimizer_in_contributing() -> None:
    """With the names that a file of ``optim/`` has."""
    names = {**vars(sgd), "sign": elementwise.sign, "__name__": __name__}
    (source,) = [block for block in blocks("CONTRIBUTING.md") if "class Lion" in block]
    made = compile(source, "CONTRIBUTING.md", "exec")
    exec(made, names)
    p = wf.nn.Parameter(wf.asarray([1.0, -2.0]))
    optimizer = names["Lion"]([p], lr=0.5)
    wf.sum(p * p).backward()
    optimizer.step()
    assert p.tolist() == [0.5, -1.5]


def test_what_the_architecture_names_in_a_file_is_there() -> None:
    """``name (`file`)`` is defined in that file, ``Class.name`` in a class of this name."""
    text = (ROOT / "docs/architecture.md").read_text()
    sources = {path.as_posix(): path.read_text() for path in (ROOT / "src/weft").rglob("*.py")}
    defined = r"(?m)^ *(?:def|class) {0}\b|^ *{0}\b[^\n(]*="
    named = re.findall(r"`((?![\w/]+\.py)[\w.]+)`(?: \(|, )`([\w/]+\.py)`", text)
    assert len(named) >= 15
    for name, file in named:
        (source, *more) = [s for path, s in sources.items() if path.endswith(f"/{file}")] or [""]
        assert more or re.search(defined.format(name.split(".")[-1]), source), (name, file)
    for owner, name in re.findall(r"`(?!Tensor)([A-Z]\w+)\.(\w+)`", text):  # Tensor's are made from tables
        bodies = [s for s in sources.values() if re.search(rf"(?m)^class {owner}\b", s)]
        assert not bodies or any(re.search(rf"\b{name}\b", s) for s in bodies), (owner, name)


def test_the_settings_table() -> None:
    variables = re.findall(r"^\| `WEFT_(\w+)` \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    fields = {name.removesuffix("_bytes").upper() for name in Settings.__dataclass_fields__}
    assert set(variables) == fields


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []
    named = re.findall(r"`((?:src/weft|tests|docs|demo|benchmarks)/[\w/.]+\.(?:py|md))`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_public_names_in_documents_exist(document: Path) -> None:
    found = set(re.findall(r"\bwf\.(\w+)", document.read_text()))
    assert {name for name in found if not hasattr(wf, name)} == set()
