"""The filters and links of the samples, in a real browser. A page's address sets them (page.js)."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from tutelage.graph.report.build import write_report

Make = Callable[..., Any]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = "--disable-background-networking --disable-component-update --disable-sync --disable-gpu"
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")


class Shown(NamedTuple):
    """What a browser shows of the samples: the ids of the visible and of the open ones, and their count."""

    visible: list[str]
    open: list[str]
    count: str
    form: bool


@pytest.fixture(scope="module")
def show(finished_in: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Shown]:
    """Return a function that opens a report of 43 samples at an address such as `#samples?status=kept`."""
    folder = finished_in(tmp_path_factory.mktemp("filters") / "run")
    write_report(folder)

    def read(address: str) -> Shown:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            command = [CHROMIUM, "--headless", "--no-sandbox", *QUIET.split(), f"--user-data-dir={profile}"]
            command += ["--virtual-time-budget=2000", "--dump-dom", f"{folder.report.as_uri()}{address}"]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        tags = re.findall(r'<details class="s"[^>]*>', done.stdout)
        ids = {tag: re.search(r'id="(s\d+)"', tag)[1] for tag in tags}  # type: ignore[index]
        form = re.search(r"<form[^>]*>", done.stdout)
        assert form
        return Shown(
            visible=[key for tag, key in ids.items() if "hidden" not in tag],
            open=[key for tag, key in ids.items() if " open" in tag],
            count=re.search(r"<output[^>]*>(.*?)</output>", done.stdout)[1],  # type: ignore[index]
            form="hidden" not in form[0],
        )

    return read


def test_an_address_sets_the_filters(show: Callable[[str], Shown]) -> None:
    shown = show("#samples?status=duplicate&round=1&weakness=w01-1&text=PLAIN%201")
    assert shown.visible == ["s26", *(f"s{25 + n}" for n in range(10, 15))], "texts with 1, 10, 11 … 14"
    assert shown.count == "6 of 43 samples"
    assert show("#samples?label=praise").visible == ["s40"]


def test_an_address_opens_a_sample_and_hides_none(show: Callable[[str], Shown]) -> None:
    shown = show("#s41")
    assert len(shown.visible) == 43
    assert (shown.count, shown.form, shown.open) == ("43 of 43 samples", True, ["s41"])
