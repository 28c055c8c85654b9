"""Settings of the documentation site: `make site` turns the Markdown pages of this folder into HTML, warnings being errors."""

import re
from pathlib import Path

HERE = Path(__file__).parent

project = "aenet_ros"
author = "aenet_ros maintainers"
release = re.search(r"<version>(.+?)</version>", (HERE.parent / "package.xml").read_text(encoding="utf-8")).group(1)
extensions = ["myst_parser"]
myst_heading_anchors = 3  # so that page.md#a-heading leads to the same place here and on GitHub
exclude_patterns = ["**.ipynb_checkpoints"]

html_theme = "furo"
html_title = f"aenet_ros {release}"
html_copy_source = False
html_static_path = []

# The menu, left of every page. A page that does not exist is passed over; one that is not named here comes under "More".
MENU = {
    "Use it": ["quickstart", "cameras", "registration", "tuning", "robustness", "troubleshooting"],
    "Tools": ["offline", "view", "export", "cli"],
    "Reference": ["parameters", "architecture", "network", "security"],
    "Measured": ["performance", "study/README", "study/architectures", "study/tasks"],
    "Your own weights": ["training"],
}


def menu(pages):
    """The menu of these pages (names without .md) as MyST directives, for the front page."""
    named = [page for part in MENU.values() for page in part]
    rest = sorted(set(pages) - {*named, "index"})
    parts = {title: [page for page in part if page in pages] for title, part in {**MENU, "More": rest}.items()}
    return "\n".join(
        f"```{{toctree}}\n:hidden:\n:caption: {title}\n" + "\n".join(part) + "\n```\n" for title, part in parts.items() if part
    )


def add_menu(app, page, source):
    """The front page is plain Markdown, which GitHub shows well; the menu is added to it here."""
    if page == app.config.root_doc:
        source[0] += "\n" + menu(app.env.found_docs)


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", add_menu)
