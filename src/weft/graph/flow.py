"""The least cut of a network: which edges, of least capacity together, part the source from the sink.

Dinic's algorithm: in each round, paths of the fewest edges that still have room are filled. A round walks all edges
once; networks of passes have short paths, hence few rounds.
"""

from __future__ import annotations

SOURCE, SINK = 0, 1


class Network:
    """Vertices are numbers; :data:`SOURCE` and :data:`SINK` are there from the beginning. Edges 2i and 2i + 1 are one
    edge, there and back."""

    __slots__ = ("_edges", "_room", "_to")

    def __init__(self) -> None:
        self._edges: list[list[int]] = [[], []]  # of each vertex
        self._to: list[int] = []
        self._room: list[int] = []

    def vertex(self) -> int:
        """A further vertex."""
        self._edges.append([])
        return len(self._edges) - 1

    def edge(self, start: int, end: int, capacity: int) -> None:
        """A further edge."""
        if capacity:
            self._edges[start].append(len(self._to))
            self._edges[end].append(len(self._to) + 1)
            self._to += (end, start)
            self._room += (capacity, 0)

    def sink_side(self) -> set[int]:
        """The vertices on the sink's side of the least cut that is nearest to the sink."""
        while (level := self._levels())[SOURCE] >= 0:
            self._fill(level)
        return {vertex for vertex, at in enumerate(level) if at >= 0}

    def _levels(self) -> list[int]:
        """Edges with room from each vertex to the sink; -1 where no way leads there, or none shorter than from the
        source."""
        level = [-1] * len(self._edges)
        level[SINK] = 0
        front, to, room = [SINK], self._to, self._room
        while front and level[SOURCE] < 0:
            following = []
            for vertex in front:
                after = level[vertex] + 1
                for edge in self._edges[vertex]:
                    start = to[edge]
                    if level[start] < 0 and room[edge ^ 1]:
                        level[start] = after
                        following.append(start)
            front = following
        return level

    def _fill(self, level: list[int]) -> None:
        """Flow along shortest paths until none has room."""
        to, room = self._to, self._room
        left = [list(edges) for edges in self._edges]  # edges that are still to be tried
        path: list[int] = []
        vertex = SOURCE
        while True:
            if vertex == SINK:
                most = min(room[edge] for edge in path)
                for edge in path:
                    room[edge] -= most
                    room[edge ^ 1] += most
                full = next(i for i, edge in enumerate(path) if not room[edge])
                vertex = to[path[full] ^ 1]
                del path[full:]
                continue
            edges = left[vertex]
            below = level[vertex] - 1
            while edges and not (room[edges[-1]] and level[to[edges[-1]]] == below):
                edges.pop()
            if edges:
                path.append(edges[-1])
                vertex = to[edges[-1]]
            elif vertex == SOURCE:
                return
            else:
                vertex = to[path.pop() ^ 1]
                left[vertex].pop()
