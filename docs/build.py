"""Build the site of the documentation, without network: `make docs`. It also checks all links.

Pages are written for GitHub: their links are those of the repository. Here they are copied to build/docs,
where links between pages are adapted and links to other files of the repository become plain text.
"""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
STAGED = ROOT / "build" / "docs"
SITE = ROOT / "site"
_LINK = re.compile(r"(?<!`)(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def page_files() -> dict[Path, Path]:
    """Return the place in the site of each page and picture of the repository, both as relative paths."""
    files = [path for end in ("md", "svg", "css") for path in sorted((ROOT / "docs").rglob(f"*.{end}"))]
    places = {path.relative_to(ROOT): path.relative_to(ROOT / "docs") for path in files}
    benchmarks = {Path("benchmarks/README.md"): Path("benchmarks/index.md")}
    return {**places, **benchmarks, Path("benchmarks/published.md"): Path("benchmarks/published.md")}


def broken_links() -> list[str]:
    """Return `page: link` for each link to a file or heading of the repository that does not exist."""
    broken = []
    for page in [Path("README.md"), *(path for path in page_files() if path.suffix == ".md")]:
        for _, _, link in _LINK.findall(_CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))):
            if "://" in link:
                continue
            file, _, heading = link.partition("#")
            target = ROOT / page.parent / file if file else ROOT / page
            if not target.exists() or (heading and heading not in anchors(target)):
                broken.append(f"{page}: {link}")
    return broken


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, which are the same on GitHub and in the site."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def stage() -> None:
    """Copy the pages to build/docs with the links of the site."""
    shutil.rmtree(STAGED, ignore_errors=True)
    places = page_files()
    for source, place in places.items():
        target = STAGED / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix != ".md":
            shutil.copy(ROOT / source, target)
            continue
        parts = _CODE.split((ROOT / source).read_text(encoding="utf-8"))
        texts = [part if part.startswith("```") else _site_links(part, source, places) for part in parts]
        target.write_text("".join(texts), encoding="utf-8")


def external_requests() -> list[str]:
    """Return `page: address` for everything that a browser would load from elsewhere when it opens a page."""
    found = []
    for page in sorted(SITE.rglob("*.html")):
        loads = _Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        found += [f"{page.relative_to(SITE)}: {address}" for address in loads.addresses]
    for sheet in SITE.rglob("*.css"):
        addresses = re.findall(r"url\([\"']?((?:https?:)?//[^)\"']+)", sheet.read_text(encoding="utf-8"))
        found += [f"{sheet.relative_to(SITE)}: {address}" for address in addresses]
    return found


def main() -> int:
    """Build the site; return 0 unless a link is broken, a page loads from elsewhere, or zensical warns."""
    if problems := broken_links():
        print("broken links:", *problems, sep="\n  ", file=sys.stderr)
        return 1
    stage()
    shutil.rmtree(SITE, ignore_errors=True)
    zensical = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    if code := subprocess.run(zensical, cwd=ROOT, check=False).returncode:
        return code
    if problems := external_requests():
        print("loaded from elsewhere:", *problems, sep="\n  ", file=sys.stderr)
        return 1
    return 0


def _site_links(text: str, source: Path, places: dict[Path, Path]) -> str:
    def adapted(found: re.Match[str]) -> str:
        mark, words, link = found.groups()
        file, hash, heading = link.partition("#")
        if "://" in link or not file:
            return found[0]
        target = Path(os.path.normpath(source.parent / file))
        if target not in places:
            return words
        relative = os.path.relpath(places[target], places[source].parent)
        return f"{mark}[{words}]({Path(relative).as_posix()}{hash}{heading})"

    return _LINK.sub(adapted, text)


class _Loads(HTMLParser):
    """Collect the addresses elsewhere from which a page loads something; links to click are not collected."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect `src` of any tag and `href` of <link>, except that of the page's own address."""
        values = dict(attrs)
        address = values.get("src") or (values.get("href") if tag == "link" else None) or ""
        if address.startswith(("http:", "https:", "//")) and values.get("rel") != "canonical":
            self.addresses.append(address)


if __name__ == "__main__":
    sys.exit(main())
