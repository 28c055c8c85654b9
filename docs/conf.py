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

# The menu, left of every page: pages, and what they are called there where their own heading is too long. A page that does
# not exist is passed over; one that is not named here comes under "More".
MENU = {
    "Use it": {
        "quickstart": "",
        "cameras": "",
        "registration": "Calibration and registration",
        "tuning": "Tuning",
        "robustness": "When cameras fail",
        "troubleshooting": "",
    },
    "Tools": {"cli": "", "offline": "", "view": "", "export": ""},
    "Reference": {"parameters": "", "architecture": "", "network": "", "security": ""},
    "Measured": {
        "performance": "Performance",
        "study/README": "The study",
        "study/architectures": "Study: blocks",
        "study/tasks": "Study: tasks",
    },
    "Your own weights": {"training": ""},
}


def menu(pages):
    """The menu of these pages (names without .md) as MyST directives, for the front page."""
    named = {page for part in MENU.values() for page in part}
    parts = {**MENU, "More": dict.fromkeys(sorted(set(pages) - named - {"index"}), "")}
    return "\n".join(directive(title, {page: name for page, name in part.items() if page in pages}) for title, part in parts.items())


def directive(title, part):
    """One part of the menu; nothing where it has no page."""
    lines = [f"{name} <{page}>" if name else page for page, name in part.items()]
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *lines, "```", ""]) if lines else ""


def add_menu(app, page, source):
    """The front page is plain Markdown, which GitHub shows well; the menu is added to it here."""
    if page == app.config.root_doc:
        source[0] += "\n" + menu(app.env.found_docs)


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", add_menu)
