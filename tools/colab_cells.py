"""Give every notebook the cell that installs the course where it is missing, as in Colab.

    python tools/colab_cells.py [--check]

The address comes from settings.ini, so that whoever publishes the course changes it there alone.
With --check nothing is written; the exit code is 1 where a notebook lacks the cell.
"""

import hashlib
import re
import sys
from configparser import ConfigParser
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
CELL = """\
#| hide
from importlib.metadata import version
from importlib.util import find_spec

if not find_spec("sentiment_course"):  # in Colab: install it, and keep the TensorFlow that is there
    there = f"tensorflow=={{version('tensorflow')}}" if find_spec("tensorflow") else "tensorflow"
    %pip install -q {{there}} git+{git_url}"""
FIRST = CELL.split("{")[0]


def install_cell():
    """The source of the cell."""
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return CELL.format(git_url=parser["DEFAULT"]["git_url"])


def with_cell(nb, source):
    """Put the cell before all other code of `nb`, in place of an older one."""
    nb.cells = [c for c in nb.cells if not c.source.startswith(FIRST)]
    first = next(i for i, c in enumerate(nb.cells) if c.cell_type == "code")
    cell = nbformat.v4.new_code_cell(source)
    cell.id = hashlib.sha256(source.encode()).hexdigest()[:8]  # the same at every run
    nb.cells.insert(first, cell)
    return nb


def main(check):
    stale = []
    for path in sorted((ROOT / "nbs").glob("*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        before = nbformat.writes(nb)
        uses = any(
            re.search(r"sentiment_course", c.source) for c in nb.cells if c.cell_type == "code"
        )
        if uses and nbformat.writes(with_cell(nb, install_cell())) != before:
            stale.append(path.name)
            if not check:
                nbformat.write(nb, path)
    if stale:
        print(f"{'without the cell' if check else 'written'}: {', '.join(stale)}")
    return bool(check and stale)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
