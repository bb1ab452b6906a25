"""The drawings in all formats show every node and edge, and what a run did."""

import re
import struct
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import TypedDict

import pytest
from langgraph.graph import START as BEGIN
from langgraph.graph import StateGraph
from tutelage.graph.build import NODES, build_graph, drawable
from tutelage.graph.drawing.draw import Format, draw, format_of
from tutelage.graph.drawing.layout import GROUPS, PLACES, WAYS
from tutelage.graph.drawing.traffic import Traffic
from tutelage.graph.task.samples import sample_task
from tutelage.student.errors import InputError

ROOT = Path(__file__).parents[3]
TAKEN = Counter({("train", "evaluate"): 12, ("evaluate", "analyst"): 7})


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    runs, seconds = Counter(train=12, evaluate=12, analyst=6), Counter(train=75, evaluate=8, analyst=3)
    return Traffic(runs, seconds, TAKEN, current="analyst", running=True, title="a $task$: it's running")


def text(form: Format, traffic: Traffic | None = None) -> str:
    return draw(drawable(), form, traffic).decode()


def svg_texts(svg: str) -> list[str]:
    return [
        "".join(one.itertext())
        for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_mermaid_has_every_edge_and_every_node_in_its_group() -> None:
    source = text("mermaid")
    edges = {(edge.source, edge.target): edge.conditional for edge in drawable().get_graph().edges}
    found = re.findall(r"^ +(\w+) (-->|-\.->) (\w+)$", source, re.MULTILINE)
    assert {(source, target): arrow == "-.->" for source, arrow, target in found} == edges
    assert len(found) == len(edges)
    groups = re.findall(r'subgraph \w+ \["(.*?)"\]\n(.*?)\n +end', source, re.DOTALL)
    assert {title: tuple(re.findall(r"(\w+)\(", inside)) for title, inside in groups} == GROUPS


def test_mermaid_of_a_run_counts_and_greys(traffic: Traffic) -> None:
    source = text("mermaid", traffic)
    assert '\ntitle: "a $task$: it\'s running"\n' in source
    assert "    train -->|12| evaluate\n" in source
    assert '("train<br/>12×, 1 min 15 s"):::student' in source
    assert '("analyst<br/>6×, at work"):::current' in source
    assert 'keep("keep"):::never' in source
    [grey] = re.findall(r"linkStyle ([\d,]+) ", source)
    arrows = [line for line in source.splitlines() if "-->" in line or "-.->" in line]
    assert [arrows[int(i)] for i in grey.split(",")] == [arrow for arrow in arrows if "|" not in arrow]


def test_an_svg_has_every_node_and_edge_and_is_the_same_each_time() -> None:
    svg = text("svg")
    assert svg == text("svg")
    shown = Counter(svg_texts(svg))
    for node, place in PLACES.items():
        assert shown[node.strip("_")] >= 1
        assert not place.about or shown[place.about] == 1
    lines = re.findall(r'style="fill: none; .*?stroke: #44505e', svg)
    conditional = [edge.conditional for edge in drawable().get_graph().edges]
    assert len(lines) == len(conditional) + 1, "the edges, and one in the legend"
    assert sum("dasharray" in line for line in lines) == sum(conditional) + 1


def test_an_svg_of_a_run_counts_and_greys(traffic: Traffic) -> None:
    svg = text("svg", traffic)
    shown = svg_texts(svg)
    for words in ("12", "7", "12×, 1 min 15 s", "6×, at work", "at work", "never reached", traffic.title):
        assert words in shown, words
    drawn = re.findall(r'style="fill: none; .*?stroke: (#\w+)', svg)
    assert drawn.count("#44505e") - 1 == len(TAKEN), "one more is in the legend"
    assert drawn.count("#d3d8df") == len(WAYS) - len(TAKEN)


@pytest.mark.parametrize("run", [False, True], ids=["graph", "run"])
def test_a_png_is_wide_enough_for_slides(run: bool, traffic: Traffic) -> None:
    picture = draw(drawable(), "png", traffic if run else None)
    assert picture.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", picture[16:24])
    assert width == 2000
    assert 1.5 < width / height < 2


def test_the_list_fits_a_terminal_and_has_every_node_and_edge(traffic: Traffic) -> None:
    many = dict.fromkeys(NODES, 123), dict.fromkeys(NODES, 35999), dict.fromkeys(WAYS, 123)
    edges = {(edge.source, edge.target): edge.conditional for edge in drawable().get_graph().edges}
    for one in (None, traffic, Traffic(*map(Counter, many))):
        shown = text("ascii", one)
        assert all(len(line) <= 100 and line.isascii() for line in shown.splitlines())
        lines = re.findall(r"^[> ] (\w+) .*?(-->|\.\.>) (.*)", re.sub(r"\n {9,}", " ", shown), re.MULTILINE)
        found = {
            (node, target.split(" ")[0]): arrow == "..>"
            for node, arrow, targets in lines
            for target in targets.split(" | ")
        }
        assert found == {(a, b.strip("_")): value for (a, b), value in edges.items() if a in NODES}
    assert "> analyst      6x, at work" in text("ascii", traffic)
    assert "evaluate (12)" in text("ascii", traffic)


def test_the_committed_drawing_is_that_of_the_code() -> None:
    if not (ROOT / "docs").exists():
        pytest.skip("tests run without the checkout")
    assert (ROOT / "docs" / "graph.svg").read_text(encoding="utf-8") == text("svg")


def test_the_name_of_a_file_decides_its_format() -> None:
    names = (None, "a.svg", "a.PNG", "a.txt", "a.mmd")
    found = [format_of(name and Path(name)) for name in names]
    assert found == ["mermaid", "svg", "png", "ascii", "mermaid"]


def test_langgraph_draws_the_graph_itself_also_inside_a_parent(tmp_path: Path) -> None:
    class State(TypedDict, total=False):
        rounds: int

    child = build_graph(sample_task(), tmp_path / "run")
    assert "analyst -.-> generator" in child.get_graph().draw_mermaid()
    parent = StateGraph(State)
    parent.add_node("distil", child)
    parent.add_edge(BEGIN, "distil")
    source = parent.compile().get_graph(xray=True).draw_mermaid()
    assert "subgraph distil" in source
    for node in NODES:
        assert f"({node})" in source


@pytest.mark.parametrize(("name", "wanted"), [("a.pdf", None), ("a.png", "svg"), ("a", "png")])
def test_a_file_whose_name_is_of_another_format_is_refused(name: str, wanted: Format | None) -> None:
    with pytest.raises(InputError, match="a drawing goes to a file that ends with"):
        format_of(Path(name), wanted)
