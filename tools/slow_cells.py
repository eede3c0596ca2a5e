"""Which saved outputs of slow cells are older than the functions that made them.

    python tools/slow_cells.py [--notebooks | --write]

Cells flagged `#| slow` keep their outputs until `make chapters` runs them again. Whenever
`tools/run_notebook.py --slow` has run a notebook, it writes down here at which commit, with which
versions, and from which functions of the course its slow cells made their outputs; a function that
reads otherwise today than it did then makes them old. A test fails until they are run again, or
until `--write` has said in the same table which functions they are older than. Only what a function
does counts: comments, docstrings, annotations and the sentences of its errors may change.
"""

import ast
import hashlib
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nbformat
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "sentiment_course" / "results" / "chapters.csv"
SLOW = re.compile(r"^#\s*\|\s*slow\s*$", re.M)
MAGIC = re.compile(r"^\s*[%!].*$", re.M)
VERSIONS = ("tensorflow", "keras", "numpy", "scikit-learn")


class _Essence(ast.NodeTransformer):
    """Takes out of a function what does not change what it does."""

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.without_docstring(node)

    def visit_ClassDef(self, node):
        return self.without_docstring(node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_Raise(self, node):
        return ast.Raise()

    def without_docstring(self, node):
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)


def functions(package=ROOT / "sentiment_course"):
    """The name of each function and class of the course, and a hash of what it does."""
    found = {}
    for path in sorted(package.glob("[a-z]*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                essence = ast.dump(_Essence().visit(node)).encode()
                found.setdefault(node.name, []).append(hashlib.sha256(essence).hexdigest()[:8])
    return {name: "+".join(sorted(hashes)) for name, hashes in found.items()}


def slow_names(path):
    """What the slow cells of the notebook at `path` use of the course; None without slow cells."""
    cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    nodes = {source: list(ast.walk(ast.parse(MAGIC.sub("", source)))) for source in cells}
    if not (slow := [source for source in cells if SLOW.search(source)]):
        return None
    used = {n.id for source in slow for n in nodes[source] if isinstance(n, ast.Name)}
    there = set()
    for node in (n for source in cells for n in nodes[source]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            there.add(node.name)
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("sentiment_course"):
            there |= {alias.name for alias in node.names}
    return used & there


def slow_notebooks():
    """The notebooks with slow cells."""
    return [p for p in sorted((ROOT / "nbs").glob("*.ipynb")) if slow_names(p) is not None]


def record(path, known=None):
    """Write down at what the slow cells of the notebook at `path` have just been run."""
    known = known or functions()
    commit = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    row = {
        "notebook": path.stem,
        "commit": subprocess.run(commit, capture_output=True, text=True).stdout.strip(),
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONS},
        "made_by": " ".join(f"{n}:{known[n]}" for n in sorted(slow_names(path) & set(known))),
        "older_than": "",
    }
    rows = written().to_dict("records") if RECORD.is_file() else []
    rows = [r for r in rows if r["notebook"] != path.stem] + [row]
    pd.DataFrame(rows).sort_values("notebook").to_csv(RECORD, index=False)


def written():
    """What `record` has written, a row a notebook."""
    return pd.read_csv(RECORD, dtype=str, keep_default_na=False)


def older_than(made_by, known):
    """The functions in `made_by`, as `record` writes them, that are not what they were."""
    made_by = dict(pair.split(":") for pair in made_by.split())
    return " ".join(name for name, then in made_by.items() if known.get(name) != then)


def main():
    """Say or write which outputs are old; or, with --notebooks, which notebooks have slow cells."""
    if "--notebooks" in sys.argv:
        print(*(path.relative_to(ROOT) for path in slow_notebooks()))
        return
    rows, known = written(), functions()
    rows["older_than"] = [older_than(made_by, known) for made_by in rows.made_by]
    for row in rows.itertuples():
        state = f"older than {row.older_than}" if row.older_than else "as its functions are"
        print(f"{row.notebook}: run at {row.commit}, {state}")
    if "--write" in sys.argv:
        rows.to_csv(RECORD, index=False)


if __name__ == "__main__":
    main()
