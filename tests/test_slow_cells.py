"""Saved outputs of slow cells: which functions made them, and whether these are what they were."""

import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import run_notebook  # noqa: E402
import slow_cells  # noqa: E402
from nbformat.v4 import new_code_cell, new_notebook  # noqa: E402

DOUBLE = 'def double(x: int) -> int:\n    "Twice x."\n    return 2 * x\n'


def fingerprint(tmp_path, source):
    (tmp_path / "made.py").write_text(source, encoding="utf-8")
    return slow_cells.functions(tmp_path)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda s: s.replace("Twice x.", "Two times x."), True),
        (lambda s: s.replace(": int", ""), True),
        (lambda s: s + "# done\n", True),
        (lambda s: s.replace("2 * x", "x + x"), False),
        (lambda s: s.replace("(x", "(x, y"), False),
    ],
)
def test_only_what_a_function_does_counts(tmp_path, change, same):
    before = fingerprint(tmp_path, DOUBLE)
    after = fingerprint(tmp_path, change(DOUBLE))
    assert (slow_cells.older_than(f"double:{before['double']}", after) == "") is same


def test_a_function_that_is_gone_makes_an_output_old():
    assert slow_cells.older_than("double:abc one:1", {"one": "1"}) == "double"


@pytest.fixture
def notebook(tmp_path):
    cells = [
        new_code_cell("from sentiment_course.losses import one_hot"),
        new_code_cell("#| slow\nprint(one_hot([1], 2))"),
        new_code_cell("print(6 * 7)"),
    ]
    nbformat.write(new_notebook(cells=cells), path := tmp_path / "small.ipynb")
    return path


def outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    return ["".join(o.get("text", "") for o in c.outputs) for c in cells]


def test_slow_cells_keep_their_outputs_until_they_are_asked_for(notebook):
    assert run_notebook.run(notebook) == [] and outputs(notebook) == ["", "", "42\n"]
    assert run_notebook.run(notebook, slow=True) == []
    assert outputs(notebook)[1] == "[[0. 1.]]\n"
    assert run_notebook.run(notebook) == [] and outputs(notebook)[1] == "[[0. 1.]]\n"


def test_noise_on_stderr_is_found_and_not_saved(tmp_path):
    cell = new_code_cell("import sys\nprint('careful', file=sys.stderr)")
    nbformat.write(new_notebook(cells=[cell]), path := tmp_path / "noisy.ipynb")
    assert run_notebook.run(path) == ["careful\n"] and outputs(path) == [""]


def test_a_run_is_written_down_with_what_made_its_outputs(notebook, monkeypatch, tmp_path):
    monkeypatch.setattr(slow_cells, "RECORD", tmp_path / "chapters.csv")
    for _ in range(2):  # a later run takes the place of an earlier one
        slow_cells.record(notebook, {"one_hot": "12345678", "softmax": "0"})
    (row,) = pd.read_csv(tmp_path / "chapters.csv").to_dict("records")
    assert row["notebook"] == "small" and row["made_by"] == "one_hot:12345678"


def test_which_saved_outputs_are_older_than_the_functions_that_made_them_is_said():
    written, known = slow_cells.written().set_index("notebook"), slow_cells.functions()
    for path in slow_cells.slow_notebooks():
        assert path.stem in written.index, f"{path.stem}: run tools/run_notebook.py --slow on it"
        row = written.loc[path.stem]
        assert row.older_than == slow_cells.older_than(row.made_by, known), (
            f"the outputs of {path.stem} are old: run make chapters, or say so in "
            f"{slow_cells.RECORD.name} by python tools/slow_cells.py --write"
        )
