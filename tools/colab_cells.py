"""Give every notebook the hidden cells that it begins with.

    python tools/colab_cells.py [--check]

One installs the course where it is missing, as in Colab; its address comes from settings.ini, so
that whoever publishes the course changes it there alone. Where a notebook draws, another makes its
plots sharp and alike: sentiment_course/course.mplstyle says how.
With --check nothing is written; the exit code is 1 where a notebook lacks a cell.
"""

import hashlib
import re
import sys
from configparser import ConfigParser
from pathlib import Path

import nbformat
from notebooks import rewrite

ROOT = Path(__file__).parent.parent
CELL = """\
#| hide
from importlib.metadata import version
from importlib.util import find_spec

if not find_spec("sentiment_course"):  # in Colab: install it, keep its TensorFlow
    has_tensorflow = find_spec("tensorflow")
    there = f"tensorflow=={{version('tensorflow')}}" if has_tensorflow else "tensorflow"
    %pip install -q {{there}} git+{git_url}"""
FIRST = CELL.split("\n\n")[0]  # by which an older one is known
PLOTS = """\
#| hide
from matplotlib import style
from matplotlib_inline.backend_inline import set_matplotlib_formats

style.use("sentiment_course.course")
always_the_same = {"Creator": None, "Date": None}
set_matplotlib_formats("svg", metadata=always_the_same)"""


def install_cell():
    """The source of the cell."""
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return CELL.format(git_url=parser["DEFAULT"]["git_url"])


def draws(nb):
    """Whether a cell of `nb` makes a plot, as far as its code or its outputs tell."""
    return any(
        re.search(r"\bplt\.|\bmatplotlib\.pyplot\b", cell.source)
        or any("image/" in kind for o in cell.outputs for kind in o.get("data", {}))
        for cell in nb.cells
        if cell.cell_type == "code"
    )


def with_cells(nb, install):
    """Put the hidden cells before all other code of `nb`, in place of older ones."""
    sources = [install, PLOTS] if draws(nb) else [install]
    starts = (FIRST, PLOTS.split("\n\n")[0])
    nb.cells = [c for c in nb.cells if not c.source.startswith(starts)]
    first = next(i for i, c in enumerate(nb.cells) if c.cell_type == "code")
    for source in reversed(sources):
        cell = nbformat.v4.new_code_cell(source)
        cell.id = hashlib.sha256(source.encode()).hexdigest()[:8]  # the same at every run
        nb.cells.insert(first, cell)
    return nb


def mended(nb):
    """`nb` with its hidden cells, where it uses the course at all."""
    uses = any("sentiment_course" in c.source for c in nb.cells if c.cell_type == "code")
    return with_cells(nb, install_cell()) if uses else nb


if __name__ == "__main__":
    sys.exit(rewrite(mended, "--check" in sys.argv[1:], "without its cells"))
