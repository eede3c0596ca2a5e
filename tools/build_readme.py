"""Write README.md from nbs/index.ipynb, so that the front page is told once.

    python tools/build_readme.py [--check]

Markdown is taken as it is, with its links made to start at the repository's root. Code is shown
with its text output; hidden cells are left out. With --check nothing is written, and the exit
code is 1 where README.md is not what the notebook gives.
"""

import argparse
import json
import posixpath
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = re.compile(r"^#\s*\|\s*(hide|include:\s*false)\s*$", re.M)
NO_CODE = re.compile(r"^#\s*\|\s*echo:\s*false\s*$", re.M)
DIRECTIVE = re.compile(r"^#\s*\|.*\n?", re.M)

# A link target, with the fenced and inline code in which nothing is a link.
LINK = re.compile(
    r"(?P<code>^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<before>!?\[[^\[\]]*\]\(|\]\(|\b(?:href|src)=\"|^\[[^\]\n]+\]:[ ]*)(?P<target>[^)\s\"]+)",
    re.M | re.S,
)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#|/", re.I)


def map_links(markdown, change):
    """Give `change(target, is_image)` each relative link of `markdown`; put in what it returns."""

    def replace(match):
        target = match["target"]
        if match["code"] or ELSEWHERE.match(target):
            return match[0]
        is_image = match["before"].startswith(("!", "src"))
        return match["before"] + change(target, is_image)

    return LINK.sub(replace, markdown)


def from_root(target, is_image=False):
    """The link `target` of a notebook in nbs/, as written in a file at the root."""
    return posixpath.normpath(posixpath.join("nbs", target))


def source_of(part):
    """The text of a cell or an output, which the format may hold as a list of lines."""
    return part if isinstance(part, str) else "".join(part)


def output_markdown(output):
    """The Markdown of one output: its own, or its text in a block."""
    data = output.get("data", {})
    if "text/markdown" in data:
        return source_of(data["text/markdown"])
    text = source_of(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"```text\n{text}\n```" if text else ""


def cell_markdown(cell):
    """The Markdown of one cell, empty where a reader is not to see it."""
    source = source_of(cell["source"])
    if cell["cell_type"] == "markdown":
        return map_links(source, from_root).strip()
    if cell["cell_type"] == "raw" or HIDDEN.search(source):
        return ""
    code = DIRECTIVE.sub("", source).strip()
    shown = f"```python\n{code}\n```" if code and not NO_CODE.search(source) else ""
    return "\n\n".join(filter(None, [shown, *map(output_markdown, cell["outputs"])]))


def readme(notebook):
    """The text of README.md for the notebook file `notebook`."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(filter(None, map(cell_markdown, cells))) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether it is in step")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_args()
    text, path = readme(args.root / "nbs" / "index.ipynb"), args.root / "README.md"
    current = path.read_text(encoding="utf-8") if path.exists() else None
    if args.check and text != current:
        sys.exit("README.md is not in step with nbs/index.ipynb: run python tools/build_readme.py")
    if text != current:
        path.write_text(text, encoding="utf-8")
        print("README.md written from nbs/index.ipynb")


if __name__ == "__main__":
    main()
