"""Every exercise of every chapter: its empty stub fails, its printed solution passes."""

import importlib
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from fold_solutions import FOLDED, fold  # noqa: E402

NBS = ROOT / "nbs"
CALL = re.compile(r"^(check_\w+)\((\w+)\)$", re.M)
DEFAULT_EXP = re.compile(r"^#\|\s*default_exp (\w+)$", re.M)
SOLUTION = re.compile(r"<summary>Solution</summary>\s*```python\n(.*?)```", re.S)
AT_LEAST = 3


def module_of(nb):
    """The module that a notebook exports, by its `default_exp` line."""
    return next(m[1] for c in nb.cells if (m := DEFAULT_EXP.search(c.source)))


def exercises():
    """One (chapter, module, checker, function, stub, solution) for each exercise of the course."""
    for path in sorted(NBS.glob("[01]?-*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        for i, cell in enumerate(nb.cells):
            if cell.cell_type != "code" or not (call := CALL.search(cell.source)):
                continue
            folded = next(
                (c.source for c in nb.cells[i + 1 :] if "Solution</summary>" in c.source), ""
            )
            solution = SOLUTION.search(folded)
            yield path.stem, module_of(nb), call[1], call[2], cell.source, solution and solution[1]


ALL = list(exercises())


def run(code, module, checker, function):
    """Run `code` as the learner's cell and hand the function that it defines to the checker."""
    chapter = importlib.import_module(f"sentiment_course.{module}")
    namespace = {"np": np, **{n: getattr(chapter, n) for n in dir(chapter) if n[0] != "_"}}
    exec(CALL.sub("", code), namespace)
    return namespace[checker](namespace[function])


@pytest.mark.parametrize("exercise", ALL, ids=[f"{e[0]}-{e[3]}" for e in ALL])
def test_solution_passes_and_stub_fails(exercise):
    _, module, checker, function, stub, solution = exercise
    assert solution, "no folded solution follows the stub"
    verdict = run(solution, module, checker, function)
    assert verdict, f"the printed solution is refused: {verdict}"
    assert not run(stub, module, checker, function), "the empty stub passes"


@pytest.mark.parametrize("path", sorted(NBS.glob("[01]?-*.ipynb")), ids=lambda p: p.stem)
def test_each_chapter_has_exercises(path):
    assert sum(e[0] == path.stem for e in ALL) >= AT_LEAST


CELLS = {
    "#| export\ndef _answer(x):\n    return _twice(x)": True,
    "#| export\ndef _twice(x):\n    return 2 * x": True,
    "#| export\ncheck_answer = Exercise(_answer, _CASES)": True,
    "#| export\n_CASES = [(1,), (2,)]": False,  # the chapter uses it as well
    "print(_CASES)": False,
    "#| export\ndef taught(x):\n    return x": False,
    "check_shown = Exercise(taught, [(1,)])": False,  # not exported: a demonstration
    "check_answer(answer)": False,
}


def test_what_only_checkers_use_is_folded_and_nothing_else():
    nb = nbformat.v4.new_notebook()
    order = [1, 0, 3, 2, 4, 5, 6, 7]  # definitions stand above their use
    sources = [list(CELLS)[i] for i in order]
    nb.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nb.cells[-1].metadata = {**FOLDED, "tags": ["kept"]}
    fold(nb)
    folded = {cell.source: "jupyter" in cell.metadata for cell in nb.cells}
    assert folded == {source: CELLS[source] for source in sources}
    assert nb.cells[-1].metadata == {"tags": ["kept"]}
