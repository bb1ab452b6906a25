"""The page as a whole: it is closed to markup in texts, needs no network, and is the same each time."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.report.build import write_report
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.errors import InputError

Make = Callable[..., Any]


def test_markup_in_any_text_is_shown_as_text(
    finished: Make, graded: Make, weakness: Make, sample: Make, markup: str, read_report: Make
) -> None:
    names = [markup, "praise"]
    folder = finished(text=markup, stop=markup, test=graded(names, names, names))
    folder.write_json(folder.weaknesses, [{**weakness(markup), "id": markup, "label": markup}])
    folder.write(folder.samples, json.dumps({**sample(1, text=markup), "weakness": markup}) + "\n")
    page = read_report(folder, folder)
    assert not {"script", "img", "iframe", "object", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.source.count("</style>") == 2  # the page's own and matplotlib's
    for section in ("headline", "classes", "weaknesses", "samples"):
        assert markup in page[section]
    assert page.open == []


def test_the_page_loads_nothing_and_runs_nothing(finished: Make, read_report: Make) -> None:
    page = read_report(finished(), finished("control"))
    links = [v for name, v in page.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))
    assert "@import" not in page.source
    assert not {"script", "link", "img"} & set(page.tags)
    assert page.open == []


def test_charts_use_the_colours_of_the_page_and_every_id_is_unique(
    finished: Make, calibration: Make, read_report: Make
) -> None:
    folder = finished()
    folder.write_json(folder.calibration, calibration())
    page = read_report(folder)
    assert page.tags.count("svg") == 2
    drawn = page.source.split("</style>", 1)[1]
    assert re.findall(r"#[0-9a-fA-F]{6}\b", drawn) == []
    assert "var(--test)" in drawn
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert read_report(folder).source == page.source


def test_the_page_shows_the_leakage_check_and_the_configuration(finished: Make, read_report: Make) -> None:
    page = read_report(finished())
    assert "gate 25 0 1 2 0.932" in page["leakage-check"]
    assert '"duplicate_above": 0.92' in page["configuration"]
    assert "analyst e974e6b57ec1a699" in page["configuration"]


def test_the_same_folder_gives_the_same_file(finished: Make, read_report: Make) -> None:
    folder = finished()
    assert read_report(folder).source == read_report(folder).source


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        write_report(RunFolder(tmp_path))
