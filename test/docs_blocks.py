"""The fenced blocks and code spans of a Markdown page, with what the comment before a block says of it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(
    r"(?:<!--\s*(?P<note>.*?)\s*-->\s*\n\s*)?^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL
)


@dataclass
class Block:
    """A fenced block. ``needs`` says why it cannot be run here; ``run_with`` gives options to add, by the command's first words."""

    language: str
    text: str
    line: int
    needs: str = ""
    run_with: dict[str, str] = field(default_factory=dict)

    def commands(self) -> list[str]:
        """The lines of a shell block, continued ones joined, without comments."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line]

    def script(self) -> str:
        """The shell block as it is run: with the options of ``run_with``."""
        lines = self.commands()
        for index, line in enumerate(lines):
            for words, options in self.run_with.items():
                if line.startswith(words):
                    lines[index] = f"{line} {options}"
        return "\n".join(lines) + "\n"


def blocks(path: Path) -> list[Block]:
    """All blocks of a page in order. Raises ValueError for a comment before a block that is neither `needs:` nor `run with:`."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        block = Block(match["language"].strip(), match["text"], text.count("\n", 0, match.start("language")) + 1)
        note = match["note"] or ""
        if note.startswith("needs:"):
            block.needs = note.removeprefix("needs:").strip()
        elif note.startswith("run with:"):
            for part in note.removeprefix("run with:").split(";"):
                words, dash, options = part.strip().partition(" -")
                block.run_with[words] = dash.strip() + options
        elif note:
            raise ValueError(f"{path.name}:{block.line}: '<!-- {note} -->' before a block; give needs: or run with:")
        found.append(block)
    return found


def spans(path: Path) -> list[str]:
    """The code spans of a page, outside its blocks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", FENCE.sub("", path.read_text(encoding="utf-8")))
