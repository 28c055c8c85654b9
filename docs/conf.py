"""Settings of the documentation site. `make site` builds HTML from the Markdown pages of this folder; warnings are errors."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path

MANIFEST = Path(__file__).parent.parent / "package.xml"

project = "aenet_ros"
if MANIFEST.exists():  # rosdoc2 builds a copy of this folder alone, and sets these names itself
    package = ElementTree.parse(MANIFEST).getroot()
    author = package.findtext("maintainer")
    release = package.findtext("version")
    html_title = f"aenet_ros {release}"
extensions = ["myst_parser"]
myst_heading_anchors = 3  # page.md#a-heading works here and on GitHub
# Our pages alone, not what rosdoc2 puts beside them: an index.rst, a page for each module, copies of README.md and the like.
source_suffix = {".md": "markdown"}
exclude_patterns = ["**.ipynb_checkpoints", "standard_docs", "user_docs"]

html_theme = "furo" if importlib.util.find_spec("furo") else "alabaster"  # the latter where rosdoc2 builds, without our extras
html_copy_source = False
html_static_path = []

# The menu on the left of every page: page -> title ("" for the heading of the page). Pages that do not exist are skipped. Pages that are
# not listed appear under "More".
MENU = {
    "Use it": {
        "quickstart": "",
        "cameras": "",
        "registration": "Calibration and registration",
        "tuning": "Tuning",
        "temperatures": "Temperatures and hot spots",
        "robustness": "",
        "troubleshooting": "",
        "black_box": "",
    },
    "Tools": {"cli": "", "offline": "", "video": "", "view": "", "export": "", "containers": ""},
    "Reference": {"parameters": "", "api": "", "architecture": "", "network": "", "security": ""},
    "Speed and training": {"performance": "", "training": ""},
    "Development notes": {
        "development/performance": "",
        "development/process_settings": "Process settings",
        "development/robustness": "",
        "development/training": "",
        "study/README": "The study",
        "study/architectures": "Study: blocks",
        "study/tasks": "Study: tasks",
    },
}


def menu(pages):
    """Return the menu of these pages (names without .md) as MyST directives."""
    named = {page for part in MENU.values() for page in part}
    parts = {**MENU, "More": dict.fromkeys(sorted(set(pages) - named - {"index"}), "")}
    return "\n".join(directive(title, {page: name for page, name in part.items() if page in pages}) for title, part in parts.items())


def directive(title, part):
    """Return one part of the menu, or an empty string if it has no page."""
    lines = [f"{name} <{page}>" if name else page for page, name in part.items()]
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *lines, "```", ""]) if lines else ""


def add_menu(app, page, source):
    """Add the menu to the front page, which is plain Markdown for GitHub."""
    if page == app.config.root_doc:
        source[0] += "\n" + menu(app.env.found_docs)


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", add_menu)
