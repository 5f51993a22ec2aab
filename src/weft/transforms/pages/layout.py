"""Where the boxes of a graph go: layers from top to bottom, in time that is linear in boxes and edges but for sorting.

A box lies one layer below the lowest of those that it reads from; one that reads from none lies above the highest of
those that read from it, so that the first layer is not full of what is needed late; boxes without edges are spread from
the top. Within a layer, boxes are sorted by the mean place of their neighbours, a few times from the top and from the
bottom, and then pulled towards it as far as those beside them let them. Edges that pass layers are not given room: the
page draws them behind the boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

GAP, BETWEEN = 24.0, 44.0  # of boxes in a layer, of layers
_SWEEPS = 4
_ALONE = 6  # boxes without edges in a layer


def layered(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """The left upper corner of each box.

    Args:
        sizes: width and height of each box.
        edges: (from, to), from being the smaller number: boxes come in an order in which they can run.
    """
    above: list[list[int]] = [[] for _ in sizes]
    below: list[list[int]] = [[] for _ in sizes]
    layer = [0] * len(sizes)
    for start, stop in sorted(set(edges)):
        below[start].append(stop)
        above[stop].append(start)
        layer[stop] = max(layer[stop], layer[start] + 1)  # that of start is final: smaller numbers came before
    lowest, alone = max(layer, default=0), 0
    for box, readers in enumerate(below):
        if readers and not above[box]:
            layer[box] = min(layer[b] for b in readers) - 1
        elif not above[box]:
            layer[box], alone = min(alone // _ALONE, lowest), alone + 1
    layers: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for box, at in enumerate(layer):
        layers[at].append(box)
    places = _ordered(layers, above, below)
    lefts = _pulled(layers, places, sizes, above, below)
    corners = [(0.0, 0.0)] * len(sizes)
    top = 0.0
    for boxes in layers:
        for box in boxes:
            corners[box] = lefts[box], top
        top += max(sizes[box][1] for box in boxes) + BETWEEN
    return corners


def _ordered(
    layers: list[list[int]], above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The boxes of each layer from left to right."""
    places = [list(boxes) for boxes in layers]
    at = [0.0] * sum(map(len, layers))
    for boxes in places:
        for number, box in enumerate(boxes):
            at[box] = number - len(boxes) / 2
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for boxes in places if down else reversed(places):
            mean = {
                b: sum(at[n] for n in neighbours[b]) / len(neighbours[b]) if neighbours[b] else at[b] for b in boxes
            }
            boxes.sort(key=lambda b: (mean.get(b, at[b]), b))
            for number, box in enumerate(boxes):
                at[box] = number - len(boxes) / 2
    return places


def _pulled(
    layers: list[list[int]],
    places: list[list[int]],
    sizes: Sequence[tuple[float, float]],
    above: Sequence[Sequence[int]],
    below: Sequence[Sequence[int]],
) -> list[float]:
    """The left end of each box: side by side in its layer's order, the layer moved as a whole to where most of its
    neighbours are, then each box for itself as far as there is room."""
    left = [0.0] * len(sizes)
    for boxes in places:
        x = -sum(sizes[b][0] + GAP for b in boxes) / 2
        for box in boxes:
            left[box] = x
            x += sizes[box][0] + GAP
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for boxes in places if down else reversed(places):
            wanted = []
            for box in boxes:
                near = neighbours[box]
                middle = sum(left[n] + sizes[n][0] / 2 for n in near) / len(near) if near else None
                wanted.append(left[box] if middle is None else middle - sizes[box][0] / 2)
            _settle(boxes, wanted, sizes, left)
    least = min(left, default=0.0)
    return [x - least for x in left]


def _settle(
    boxes: Sequence[int], wanted: Sequence[float], sizes: Sequence[tuple[float, float]], left: list[float]
) -> None:
    """Give boxes of one layer, in their order, places near those that they want: runs of boxes that touch lie where
    the mean of their wishes is (the method of pooled neighbours)."""
    runs: list[list[float]] = []  # mean of the wishes for the run's left end, boxes in it, width
    for box, wish in zip(boxes, wanted, strict=True):
        run = [wish, 1.0, sizes[box][0] + GAP]
        while runs and runs[-1][0] + runs[-1][2] > run[0]:
            before = runs.pop()
            mean = (before[0] * before[1] + (run[0] - before[2]) * run[1]) / (before[1] + run[1])
            run = [mean, before[1] + run[1], before[2] + run[2]]
        runs.append(run)
    at = 0
    for mean, count, _ in runs:
        x = mean
        for box in boxes[at : at + int(count)]:
            left[box] = x
            x += sizes[box][0] + GAP
        at += int(count)
