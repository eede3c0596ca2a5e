"""Export the package, run notebooks top to bottom in a fresh kernel, save them clean with outputs.

    python tools/run_notebook.py nbs/02-losses.ipynb [more.ipynb] [--slow]

Without --slow, cells flagged `#| slow` are not run and keep the outputs they have. With it, what
they were run with is written down, see slow_cells.py.
Progress bars are dropped from what is saved; any other text on stderr is an error here,
because a reader would meet it as noise.
"""

import argparse
import os
import re
import sys
from pathlib import Path

import nbformat
import slow_cells
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.export import nb_export

EVAL_FALSE = re.compile(r"^#\s*\|\s*eval:\s*false\s*$", re.M)
PROGRESS = re.compile(r"\r|\d+%\|")


class Client(NotebookClient):
    """An `nbclient` that leaves out the cells it is told to skip."""

    def __init__(self, *args, skip=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.skip = skip

    async def async_execute_cell(self, cell, cell_index, **kwargs):
        if any(flag.search(cell.source) for flag in self.skip):
            return cell
        return await super().async_execute_cell(cell, cell_index, **kwargs)


def without_progress(cell):
    """Drop progress bars from the outputs of `cell`; return the noise that remains on stderr."""
    kept, noise = [], []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stderr":
            if not PROGRESS.search(output.text):
                noise.append(output.text)
            continue
        kept.append(output)
    cell.outputs = kept
    return noise


def clean(nb):
    """Strip what changes from run to run, and keep the metadata that settings.ini names."""
    config = get_config()
    keys = config.allowed_metadata_keys.split(), config.allowed_cell_metadata_keys.split()
    clean_nb(nb, False, *keys)


def run(path, slow=False):
    """Run the notebook at `path` in its own folder and save it; return the noise it made."""
    nb = nbformat.read(path, as_version=4)
    skip = (EVAL_FALSE,) if slow else (EVAL_FALSE, slow_cells.SLOW)
    client = Client(
        nb, skip=skip, timeout=None, kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )  # fmt: skip
    client.execute()
    noise = [t for c in nb.cells if c.cell_type == "code" for t in without_progress(c)]
    clean(nb)
    nb.metadata.kernelspec = {"display_name": "python3", "language": "python", "name": "python3"}
    nbformat.write(nb, path)
    return noise


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--slow", action="store_true", help="run the cells flagged slow too")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for path in args.notebooks:
        nb_export(path)
        try:
            noise = run(path, args.slow)
        except CellExecutionError as error:
            sys.exit(f"{path}: {error}")
        if args.slow and slow_cells.slow_names(path) is not None:
            slow_cells.record(path)
        print(f"{path}: run and saved", flush=True)
        if noise:
            sys.exit(f"{path}: text on stderr that a reader would meet:\n" + "\n".join(noise))


if __name__ == "__main__":
    main()
