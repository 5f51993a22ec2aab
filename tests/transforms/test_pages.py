"""Pages of explanations and profiles: what is in them, that nothing of a user's text is markup, and that they draw
themselves in a browser, where there is one."""

from __future__ import annotations

import base64
import hashlib
import json
import linecache
import re
import shutil
import subprocess
import tomllib
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft as wf
from weft.nn import functional as F
from weft.transforms.pages import content, layout, page

VOID = {"meta"}
TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "h1",
    "ul",
    "main",
    "section",
    "nav",
    "div",
    "canvas",
}
TAGS |= {"button", "p", "noscript", "script"}
ATTRIBUTES = {
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "id",
    "aria-label",
    "role",
    "tabindex",
    "title",
    "class",
}
ATTRIBUTES |= {"hidden", "type"}


class Page(HTMLParser):
    """A page taken apart: every tag is one of the template's, and is closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}
        self.policy = ""
        self.feed(text)
        self.close()
        assert self.open == []
        assert self.counts["script"] == 2 and self.counts["style"] == self.counts["title"] == 1
        self.data = json.loads(self.texts["script"][0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS and {name for name, _ in attrs} <= ATTRIBUTES, (tag, attrs)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data


def training() -> tuple[Any, tuple[Any, Any]]:
    wf.manual_seed(1)
    net = wf.nn.Sequential(wf.nn.Linear(6, 8), wf.nn.LayerNorm(8), wf.nn.GELU(), wf.nn.Linear(8, 3))
    opt = wf.optim.AdamW(net.parameters(), lr=0.01)

    @wf.compile
    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step, (wf.ones((4, 6)), wf.zeros((4,), dtype=wf.int64))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    step, batch = training()
    step.explain(*batch, html=folder / "explain.html")
    step.lower(wf.spec((4, 6)), wf.spec((4,), wf.int64)).explain(html=folder / "lower.html")
    with wf.profile() as profile:
        step(*batch)
        for _ in range(3):
            wf.exp(batch[0] @ batch[0].T)
    profile.html(folder / "profile.html")
    return {path.stem: path for path in folder.iterdir()}


def read(path: Path) -> Page:
    return Page(path.read_text())


@pytest.mark.parametrize("kind", ["explain", "lower", "profile"])
def test_a_page_is_whole_and_loads_nothing(written: dict[str, Path], kind: str) -> None:
    text = written[kind].read_text()
    found = Page(text)
    assert not re.search(r"https?://|\bsrc=|\bhref=|@import|url\(|\bfetch\(|XMLHttpRequest|innerHTML|eval\(", text)
    script, style = found.texts["script"][1], found.texts["style"][0]
    for part, name in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in found.policy
    assert found.policy.startswith("default-src 'none'") and "unsafe" not in found.policy


def test_it_says_what_the_table_says(written: dict[str, Path]) -> None:
    step, batch = training()
    rows = step.explain(*batch).rows
    kernels = read(written["explain"]).data["kernels"]
    assert [(k["t"], k["b"], k["f"]) for k in kernels] == [(r.kernel, r.nbytes, r.flops) for r in rows]
    assert all(k["s"] > 0 and k["p"] > 0 for k in kernels)
    assert all(k["s"] is None and k["p"] is None for k in read(written["lower"]).data["kernels"])


def test_the_code_of_each_kernel_is_in_it_once(written: dict[str, Path]) -> None:
    step, batch = training()
    data, kernels = read(written["explain"]).data, step.kernels(*batch)
    unpacked = [json.loads(zlib.decompress(base64.b64decode(text))) for text in data["texts"]]
    assert len({t["IR"] for t in unpacked}) == len(unpacked) < len(kernels)
    for said, kernel in zip(data["kernels"], kernels, strict=True):
        texts = unpacked[said["x"]]
        assert (texts["IR"], texts["LLVM"]) == (str(kernel), kernel.llvm()) and "ret" in texts["assembly"]


def test_of_many_kernels_those_that_take_longest_have_their_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_COMPILED", 2)
    step, batch = training()
    found = step.explain(*batch, html=tmp_path / "page.html")
    data = read(tmp_path / "page.html").data
    unpacked = [json.loads(zlib.decompress(base64.b64decode(text))) for text in data["texts"]]
    assert [("LLVM" in t, "note" in t) for t in unpacked[:3]] == [(True, False), (True, False), (False, True)]
    longest = max(range(len(found.rows)), key=lambda n: found.rows[n].seconds or 0.0)
    assert data["kernels"][longest]["x"] == 0


def test_lines_nodes_and_kernels_lead_to_each_other(written: dict[str, Path]) -> None:
    data = read(written["explain"]).data
    graph = data["graph"]
    assert [f["path"] for f in data["files"]] == [__file__]
    ((first, lines),) = data["files"][0]["parts"]
    shown = linecache.getlines(__file__)[first - 1 : first - 1 + len(lines)]
    assert lines == [text.rstrip("\n") for text in shown]
    for number, rows in enumerate(graph["rows"]):
        places = {tuple(place) for n in rows for place in graph["nodes"][n]["l"]}
        assert places == {tuple(place) for place in data["kernels"][number]["l"]}
        assert all(graph["nodes"][n]["k"] == number for n in rows)
        assert all(place[0] == 0 and first <= place[1] < first + len(lines) for place in places)
    said = {lines[place[1] - first].strip() for k in data["kernels"] for place in k["l"]}
    assert said == {"loss = F.cross_entropy(net(x), y)", "loss.backward()", "opt.step()"}
    assert all(a < b for a, b in graph["edges"]) and len(graph["boxes"]) == len(data["kernels"])


def test_memory_is_where_the_plan_has_it(written: dict[str, Path]) -> None:
    """Values that lie in one place are there one after the other, or one hands its memory to the other."""
    step, batch = training()
    data = read(written["explain"]).data
    memory = data["memory"]
    assert memory["nbytes"] == step.explain(*batch).arena_nbytes and memory["steps"] == len(data["kernels"])
    rows = memory["rows"]
    assert rows and all(offset + nbytes <= memory["nbytes"] for offset, nbytes, *_ in rows)
    for n, (offset, nbytes, first, last, _) in enumerate(rows):
        for other, size, start, stop, _ in rows[:n]:
            if offset < other + size and other < offset + nbytes:
                assert last <= start or stop <= first


def test_guards_are_said() -> None:
    step, batch = training()
    from weft.transforms.captured import Captured

    captured: Captured = step._entry(batch, {})[0].captured
    found = captured.guarded()
    assert found[0] == "argument tensor 0: float32[4, 6]"
    assert any(text.startswith("LayerNorm as a whole is (('_training', True)") for text in found)
    assert "ParamGroup['eps'] is 1e-08" in found and "a closure's variable is that very AdamW" in found
    sized = wf.compile(lambda x: x + 1.0, dynamic={"x": {0: ("n", 2, 512)}})
    assert "sizes: 2 <= n <= 512" in sized._entry((wf.ones((5, 3)),), {})[0].captured.guarded()


class Loud:
    def __repr__(self) -> str:
        raise AssertionError("a page asks no object of the user's what it looks like")

    __str__ = __repr__
    scale = 2.0


def test_no_code_of_the_users_runs_for_guards() -> None:
    loud = Loud()
    f = wf.compile(lambda x: x * loud.scale)
    assert f._entry((wf.ones((3,)),), {})[0].captured.guarded()


HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{data}}{{script}}",
    "<!--<script>",
    "]]>&lt;\u2028\u2029\x00\x1b[31m",
    "\ud800\ufffe",
    "'; alert(1) //\\",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_from_users_are_never_markup(text: str, tmp_path: Path) -> None:
    """Names of functions, files, threads, values of guards and lines of source."""
    name = tmp_path / "hostile.py"
    space: dict[str, Any] = {"wf": wf, "mode": text}
    code = f"def f(x):\n    'what: {'x'}'\n    return x + 1.0 if mode else x  # {text!a} </script><b>\n"
    file = f"{name}{text}"
    linecache.cache[file] = (len(code), None, [line + text + "\n" for line in code.splitlines()], file)
    exec(compile(code, file.replace("\x00", ""), "exec"), space)
    linecache.cache[file.replace("\x00", "")] = linecache.cache[file]
    space["f"].__name__ = text
    path = tmp_path / "page.html"
    try:
        wf.compile(space["f"]).explain(wf.ones((3,)), html=path)
        with wf.profile() as profile:
            space["f"](wf.ones((3,)))
        profile.html(tmp_path / "profile.html")
    finally:
        linecache.cache.pop(file, None)
        linecache.cache.pop(file.replace("\x00", ""), None)
    found = read(path)
    assert found.data["name"] == text and found.data["files"][0]["path"] == file.replace("\x00", "")
    assert any(line.endswith(text.rstrip("\r\n")) for _, lines in found.data["files"][0]["parts"] for line in lines)
    assert found.texts["title"][0].startswith(text.encode("utf-8", "replace").decode()[:1])
    assert read(tmp_path / "profile.html").data["kind"] == "profile"


@given(text=st.text(), title=st.text())
def test_any_text_comes_back_as_it_was(text: str, title: str) -> None:
    found = Page(page(title, {"kind": "profile", "kernels": [], "name": text, "texts": [text]}))
    assert found.data["name"] == text and found.data["texts"] == [text]


def test_a_source_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    space: dict[str, Any] = {}
    exec(compile("def f(x):\n    return x + 1.0\n", "nowhere.py", "exec"), space)
    wf.compile(space["f"]).explain(wf.ones((3,)), html=tmp_path / "page.html")
    data = read(tmp_path / "page.html").data
    assert data["files"] == [{"name": "nowhere.py", "path": "nowhere.py", "parts": []}]
    assert data["kernels"][0]["l"] == [[0, 2]]


def test_what_needs_no_kernel_and_what_python_computes_have_pages(tmp_path: Path) -> None:
    x = wf.ones((3, 3)) + 2.0 * wf.eye(3)
    for number, function in enumerate((lambda x: x, lambda x: x.T, wf.linalg.inv, lambda x: wf.linalg.inv(x * 2.0))):
        wf.compile(function).explain(x, html=tmp_path / f"{number}.html")
        data = read(tmp_path / f"{number}.html").data
        assert len(data["kernels"]) == len(data["graph"]["boxes"])


def test_a_page_for_any_size_has_the_numbers_of_the_call(tmp_path: Path) -> None:
    f = wf.compile(lambda x: F.softmax(x @ x.T, -1).sum(), dynamic={"x": {0: "n"}})
    f.explain(wf.ones((7, 5)), html=tmp_path / "page.html")
    data = read(tmp_path / "page.html").data
    assert data["sizes"] == {"n": 7} and any("[7, 7]" in name for k in data["kernels"] for name in k["w"])


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    step, batch = training()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "nowhere" / "page.html", tmp_path / "folder"):
        with pytest.raises(OSError, match="folder"):
            step.explain(*batch, html=path)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_many_kernels_are_few_megabytes(tmp_path: Path) -> None:
    wf.manual_seed(0)
    modules = [m for _ in range(40) for m in (wf.nn.Linear(8, 8), wf.nn.LayerNorm(8), wf.nn.GELU())]
    net = wf.nn.Sequential(*modules)
    f = wf.compile(lambda x: net(x).sum())
    f.explain(wf.ones((4, 8)), html=tmp_path / "page.html")
    data = read(tmp_path / "page.html").data
    assert len(data["kernels"]) >= 80 and len(data["texts"]) <= 8
    assert (tmp_path / "page.html").stat().st_size < 2000 * len(data["kernels"]) + 200_000


def test_what_pages_are_made_of_is_in_the_package() -> None:
    """Every file that is no Python is one that pyproject.toml declares."""
    root = Path(__file__).resolve().parents[2]
    said = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["weft"]
    package = root / "src" / "weft"
    declared = {path for pattern in said for path in package.glob(pattern)}
    there = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert there <= declared and {p.name for p in there} >= {"page.html", "page.css", "page.js"}


# --- where boxes go -------------------------------------------------------------------------------------------------

box = st.tuples(st.floats(1, 300), st.floats(1, 200))


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    sizes = draw(st.lists(box, max_size=25))
    pairs = [(a, b) for b in range(len(sizes)) for a in range(b)]
    edges = draw(st.lists(st.sampled_from(pairs), max_size=60)) if pairs else []
    return sizes, edges


@given(graph=graphs())
def test_boxes_do_not_overlap_and_edges_go_down(
    graph: tuple[list[tuple[float, float]], list[tuple[int, int]]],
) -> None:
    sizes, edges = graph
    corners = layout.layered(sizes, edges)
    assert corners == layout.layered(sizes, edges) and len(corners) == len(sizes)
    for n, ((x, y), (w, h)) in enumerate(zip(corners, sizes, strict=True)):
        assert x >= 0 and y >= 0
        for (u, v), (a, b) in list(zip(corners, sizes, strict=True))[:n]:
            assert x + w <= u + 1e-6 or u + a <= x + 1e-6 or y + h <= v or v + b <= y
    for start, stop in edges:
        assert corners[start][1] + sizes[start][1] < corners[stop][1]


def test_the_work_grows_with_the_graph_and_not_faster() -> None:
    """Counted in calls and lines of layout's own code."""
    import sys

    def steps(n: int) -> int:
        count = 0

        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal count
            count += frame.f_code.co_filename == layout.__file__
            return trace

        edges = [(i, i + 1) for i in range(n - 1)] + [(i, n - 1 - i) for i in range(n // 2)]
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            layout.layered([(100.0, 50.0)] * n, edges)
        finally:
            sys.settrace(before)
        return count

    small, large = steps(100), steps(400)
    assert large < 4.4 * small


# --- in a browser ---------------------------------------------------------------------------------------------------

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def opened(path: Path, fragment: str, profile: Path) -> tuple[str, list[str]]:
    """The document that a page has made of itself, and what the browser's console says."""
    assert BROWSER is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    options += ["--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}", "--window-size=1200,900"]
    done = subprocess.run(
        [BROWSER, *options, f"{path.as_uri()}#{fragment}"], capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


VIEWS = {
    "explain": ("kernel=2&text=LLVM&node=0", ["define i64 @kernel", "cross_entropy", "row picked", "line used picked"]),
    "lower": ("tab=memory", ["not run", "Memory over time"]),
    "profile": ("tab=timeline&kernel=0", ["Timeline", "line used picked", "calls"]),
}


@pytest.fixture(scope="module")
def browsers_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("browser")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(BROWSER is None, reason="there is no browser")
@pytest.mark.parametrize("kind", VIEWS)
def test_a_browser_draws_it_without_a_complaint(written: dict[str, Path], browsers_folder: Path, kind: str) -> None:
    fragment, seen = VIEWS[kind]
    document, console = opened(written[kind], fragment, browsers_folder)
    assert console == [] and 'data-ready="yes"' in document
    drawn = document.split('<script type="application/json"')[0]
    assert [text for text in seen if text not in drawn] == []
