"""The documentation site: it builds without a warning, every link and picture in it leads somewhere, and it needs no network."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

pytest.importorskip("sphinx", reason="the site needs Sphinx (pip install '.[docs]')")
pytest.importorskip("myst_parser", reason="the site needs myst-parser (pip install '.[docs]')")
pytest.importorskip("furo", reason="the site needs furo (pip install '.[docs]')")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


class Links(HTMLParser):
    """A page's links, the places in it that links may lead to, and what a browser would load for it."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places, self.loaded = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in LOADED and given.get(LOADED[tag]) and given.get("rel") not in ("canonical", "index", "search", "next", "prev"):
            self.loaded.append(given[LOADED[tag]])


def build(source, out):
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-b", "html", str(source), str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = build(DOCS, out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_of_markdown_is_in_the_site_and_in_its_menu(site, pages):
    names = {str(path.relative_to(DOCS).with_suffix(".html")) for path in DOCS.rglob("*.md")}
    assert names <= {str(path.relative_to(site)) for path in pages}
    assert names - {"index.html"} <= set(pages[site / "index.html"].links)
    menu = (site / "index.html").read_text(encoding="utf-8").partition('class="sidebar-tree"')[2].partition('class="main"')[0]
    listed = re.findall(r'href="([^"#]+\.html)"', menu)
    assert set(listed) >= names - {"index.html"}
    assert len(listed) == len(set(listed)), "a page is in the menu twice"


def test_every_link_and_picture_leads_somewhere(site, pages):
    broken = []
    for path, page in pages.items():
        for address in [*page.links, *page.loaded]:
            parts = urlparse(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_relative_to(site) or not target.is_file():
                broken.append(f"{path.name}: {address}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                broken.append(f"{path.name}: {address} (no such place)")
    assert broken == []


def test_nothing_is_loaded_from_the_network(pages):
    assert [address for page in pages.values() for address in page.loaded if urlparse(address).netloc] == []


def test_a_broken_link_fails_the_build(tmp_path):
    """What the build promises: the test above sees what Sphinx would let pass."""
    source = tmp_path / "docs"
    source.mkdir()
    shutil.copy(DOCS / "conf.py", source)
    shutil.copy(ROOT / "package.xml", tmp_path)
    (source / "index.md").write_text("# Front\n\n[nowhere](absent.md)\n")
    done = build(source, tmp_path / "out")
    assert done.returncode != 0
    assert "absent.md" in done.stderr


@pytest.mark.parametrize(
    "path", [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))], ids=lambda path: path.name
)
def test_links_between_files_hold_on_github_too(path):
    """There a page is shown where it lies in the repository."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if "://" not in target and not (path.parent / target).exists()] == []


def test_pictures_are_small():
    assert [path.name for path in (DOCS / "images").iterdir() if path.stat().st_size > 300_000] == []
