"""Write the map of the modules into CONTRIBUTING.md, from the notebooks that export them.

python tools/build_map.py [--check]
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "CONTRIBUTING.md"
MARKS = "<!-- modules -->", "<!-- end of modules -->"


def rows():
    """A line of Markdown for each module: its name, its notebook, what it is for."""
    for path in sorted((ROOT / "nbs").glob("*.ipynb")):
        cells = ["".join(c["source"]) for c in json.loads(path.read_text("utf-8"))["cells"]]
        module = re.search(r"^#\| default_exp (\w+)$", "\n".join(cells), re.M)
        if module:
            says = cells[0].split("\n> ")[1]
            yield f"| `{module[1]}` | [{path.stem}](nbs/{path.name}) | {says} |"


def with_map(text):
    """`text` with the map between the two marks."""
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    table = "\n".join(["| module | notebook | what it is for |", "|---|---|---|", *rows()])
    return f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{after}"


def main():
    text = PATH.read_text(encoding="utf-8")
    if "--check" in sys.argv and with_map(text) != text:
        sys.exit("the map in CONTRIBUTING.md is old: run python tools/build_map.py")
    PATH.write_text(with_map(text), encoding="utf-8")


if __name__ == "__main__":
    main()
