"""The places and ways by hand are those of the compiled graph, and make a picture that can be read."""

from itertools import combinations, pairwise

import pytest
from tutelage.graph.build import NODES, drawable
from tutelage.graph.drawing.layout import GROUPS, PLACES, WAYS, Edge, Point, path, size

Part = tuple[Point, Point]


def parts(edge: Edge) -> list[Part]:
    return [(min(two), max(two)) for two in pairwise(path(edge))]


def overlap(first: Part, second: Part, gap: float) -> bool:
    """Return whether two boxes or lines, from lower left to upper right, are nearer than a gap."""
    return all(first[0][i] < second[1][i] + gap and second[0][i] < first[1][i] + gap for i in (0, 1))


def test_every_node_and_edge_of_the_compiled_graph_has_its_place() -> None:
    graph = drawable().get_graph()
    assert set(WAYS) == {(edge.source, edge.target) for edge in graph.edges}
    assert set(PLACES) == set(graph.nodes)
    assert sorted(node for nodes in GROUPS.values() for node in nodes) == sorted(NODES)


@pytest.mark.parametrize("edge", WAYS, ids=" to ".join)
def test_an_edge_runs_from_its_source_to_its_target_and_through_no_box(edge: Edge) -> None:
    for node, (x, y) in zip(edge, (path(edge)[0], path(edge)[-1]), strict=True):
        place, (width, height) = PLACES[node], size(node)
        sides = abs(x - place.x) / (width / 2), abs(y - place.y) / (height / 2)
        assert max(sides) == pytest.approx(1), f"{edge} does not touch {node}"
        assert min(sides) < 0.9, f"{edge} touches {node} at its corner"
    for node, place in PLACES.items():
        width, height = size(node)
        box = (place.x - width / 2, place.y - height / 2), (place.x + width / 2, place.y + height / 2)
        for part in parts(edge):
            assert part[0][0] == part[1][0] or part[0][1] == part[1][1], "every part is level or upright"
            assert not overlap(part, box, -1e-9 if node in edge else 0.05), f"{edge} runs through {node}"


def test_no_two_edges_lie_on_each_other() -> None:
    for one, other in combinations(WAYS, 2):
        for first in parts(one):
            for second in parts(other):
                upright = [part[0][0] == part[1][0] for part in (first, second)]
                if upright[0] == upright[1]:
                    assert not overlap(first, second, 0.06), f"{one} and {other}"
