"""The page as a whole: it is closed to markup in texts, needs no network, and is the same each time."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.report.build import write_report
from tutelage.graph.report.page import SCRIPT, cut_to_fit
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
    assert not {"img", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == page.tags.count("form") == 1
    assert page.source.count("<script") == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.source.count("</style>") == 2  # the page's own and matplotlib's
    for section in ("headline", "classes", "weaknesses", "samples"):
        assert markup in page[section]
    assert page.open == []


def test_the_page_loads_nothing_and_runs_only_its_own_script(finished: Make, read_report: Make) -> None:
    page = read_report(finished(), finished("control"))
    links = [v for name, v in page.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))
    assert "@import" not in page.source
    assert not {"link", "img"} & set(page.tags)
    [script] = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    assert script == SCRIPT
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    assert ("content", policy) in page.attributes
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


def test_a_key_in_a_text_is_not_in_the_page(
    finished: Make, sample: Make, read_report: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "k7-52-77-61-0a")
    folder = finished()
    folder.write(folder.samples, json.dumps(sample(1, text="my key is k7-52-77-61-0a")) + "\n")
    page = read_report(folder)
    assert "k7-52-77-61-0a" not in page.source
    assert "my key is [SHOP_TOKEN]" in page["samples"]


def test_texts_are_cut_at_one_length_to_fit_into_a_number_of_bytes() -> None:
    assert cut_to_fit(["abc", "de"], 5) == ["abc", "de"]
    assert cut_to_fit(["abcdef", "de"], 6) == ["abcd…", "de"]
    assert cut_to_fit(["<<<<", "é"], 10) == ["<<…", "é"], "as HTML and in UTF-8"
