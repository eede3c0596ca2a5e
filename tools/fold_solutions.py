"""Fold the cells that hold the solutions of exercises, in JupyterLab and in Colab.

    python tools/fold_solutions.py [--check]

A chapter exports the checker of each exercise, and with it the solution. The site hides these
cells; a notebook would show them right above the exercise. With --check nothing is written; the
exit code is 1 where a cell stands open that should be folded, or the other way round.
"""

import ast
import re
import sys

from notebooks import rewrite

EXPORTED = re.compile(r"^#\|\s*export", re.M)
CHECKER = re.compile(r"^check_\w+ = Exercise\(", re.M)
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}  # Colab's word, JupyterLab's


def names(cell):
    """The names that a code cell defines at its top, and those that it reads."""
    try:
        tree = ast.parse(cell.source)
    except SyntaxError:  # a cell of IPython's own
        return set(), set()
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    read = {n.id for n in nodes if isinstance(n.ctx, ast.Load)}
    top = {getattr(s, "name", None) for s in tree.body} - {None}
    for assigned in (s for s in tree.body if isinstance(s, ast.Assign)):
        top |= {n.id for t in assigned.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return top, read


def solutions(nb):
    """The cells of `nb` to fold: exported checkers, and what only they use, if it is private."""
    code = [c for c in nb.cells if c.cell_type == "code"]
    folded = [c for c in code if EXPORTED.search(c.source) and CHECKER.search(c.source)]
    for cell in reversed(code):  # what a checker uses stands above it
        made, _ = names(cell)
        if cell in folded or not made or not all(name.startswith("_") for name in made):
            continue
        users = [c for c in code if c is not cell and made & names(c)[1]]
        if users and all(user in folded for user in users):
            folded.append(cell)
    return folded


def fold(nb):
    """Fold the cells of `nb` that hold solutions, and no others."""
    folded = solutions(nb)
    for cell in nb.cells:
        kept = {k: v for k, v in cell.metadata.items() if k not in FOLDED}
        cell.metadata = {**kept, **(FOLDED if cell in folded else {})}
    return nb


if __name__ == "__main__":
    sys.exit(rewrite(fold, "--check" in sys.argv[1:], "not folded"))
