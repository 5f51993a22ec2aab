"""Self-contained pages: what a compiled function does, or what a profile saw, beside the user's source.

A page is one file without anything from outside: ``page.html`` with the style (``page.css``), the script (``page.js``)
and the data put in. Who owns what: ``content.py`` says what is shown, as plain data; ``layout.py`` where the graph's
boxes go; the script draws what is in sight, when it is (kernels' texts are unpacked when they are looked at), and puts
all that comes from users in as text, never as markup. The page's own policy forbids it to load anything or to run
any script but this one.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ...core.device import CPU
from ...core.version import VERSION
from ...graph.executable import Executable
from ...runtime.devices import target_of
from ...runtime.pool import get_num_threads
from .. import roofs
from .content import Names, Source, Texts, graph_of, kernel_of, memory_of

if TYPE_CHECKING:
    from ..captured import Captured
    from ..explain import Explanation
    from ..profile import Profile

_EVENTS = 20_000  # of a profile, that its page shows
_EACH = 8  # kernels of a row of it, whose code the page has


def explain_page(
    name: str, told: Explanation, parts: Sequence[tuple[Executable, Mapping[str, int]]], captured: Captured
) -> str:
    """The page of a compiled function, for certain arguments. ``parts``: executables that run one after the other, each
    with the sizes of its symbols; the last knows them all."""
    sizes = parts[-1][1]
    launches = [launch for exe, _ in parts for launch in exe.launches]
    names = Names([exe.plan for exe, _ in parts], sizes)
    source, texts = Source(), Texts(target_of(captured.device))
    for launch, _ in sorted(zip(launches, told.rows, strict=True), key=lambda pair: -(pair[1].seconds or 0.0)):
        texts.number(launch)
    kernels = []
    for launch, row in zip(launches, told.rows, strict=True):
        figures = {"b": row.nbytes, "f": row.flops, "s": row.seconds, "p": row.peak}
        kernels.append(kernel_of(launch, names, source, texts) | figures)
    return page(
        f"{name}: explained",
        {
            "kind": "explain",
            "name": name,
            "kernels": kernels,
            "graph": graph_of(launches, names, source),
            "memory": memory_of([(exe.plan, exe.launches) for exe, _ in parts], names, sizes),
            "guards": list(Counter(captured.guarded()).items()),  # many layers have equal ones
            "sizes": dict(sizes),
            "files": source.files(),
            "texts": texts.packed,
        },
    )


def profile_page(profile: Profile) -> str:
    """The page of a profile: its rows, and when what ran on which thread."""
    rows, source, texts = profile.rows, Source(), Texts(target_of(CPU))
    for row in sorted(rows, key=lambda row: -row.seconds):
        for launch in row.launches[:_EACH]:
            texts.number(launch)
    kernels = [
        {
            "t": f"{row.function}: {row.op}" if row.function else row.op,
            "l": source.places(row.lines),
            "x": [texts.number(x) for x in row.launches[:_EACH]],
            "n": row.calls,
            "b": row.nbytes,
            "f": row.flops,
            "s": row.seconds,
            "p": row.peak,
        }
        for row in rows
    ]
    data = {
        "kind": "profile",
        "name": "profile",
        "kernels": kernels,
        "timeline": profile.timeline(_EVENTS),
        "seconds": profile.seconds,
        "files": source.files(),
        "texts": texts.packed,
    }
    return page("profile", data)


def page(title: str, data: Mapping[str, Any]) -> str:
    """The file: the template with its parts put in."""
    machine = f"{platform.machine()}, {get_num_threads()} threads, weft {VERSION}"
    roof = {"flops": roofs.flops_roof(), "bytes": [(size, roofs.bytes_roof(size)) for size in roofs.SIZES]}
    style, script = _part("page.css"), _part("page.js")
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'"
    parts = {
        "policy": html.escape(policy),
        "title": html.escape(_whole(title)),
        "style": style,
        "script": script,
        "data": _json({**data, "machine": machine, "roof": roof}),
    }
    return _filled(_part("page.html"), parts)


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with ``{{name}}`` replaced, once: what is put in is not looked at again."""
    first, *rest = template.split("{{")
    found = [first]
    for piece in rest:
        name, after = piece.split("}}", 1)
        found += [parts[name], after]
    return "".join(found)


def _json(data: Any) -> str:
    """JSON that ends no script element, whatever its strings hold."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
