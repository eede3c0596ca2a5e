"""Run notebooks as Colab would: alone, in an empty folder, on what their cells install.

    python tools/try_as_colab.py nbs/12-bert.ipynb [more] [--tensorflow 2.20.0] [--slow]

Makes an environment with TensorFlow (by default an older one than the course is tested with, as
Colab has), Jupyter's kernel and nothing of this course; builds the wheel; copies each notebook into
an empty folder and runs its cells in order, with the address in the first cell replaced by the
wheel. Afterwards TensorFlow must be the one that was there.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import nbformat
from colab_cells import FIRST
from run_notebook import EVAL_FALSE, Client
from slow_cells import SLOW

ROOT = Path(__file__).parent.parent
VERSION = "import importlib.metadata as m; print(m.version('tensorflow'))"


def run(*command, **more):
    return subprocess.run([*map(str, command)], check=True, text=True, **more)


def build_wheel(folder):
    """The wheel of this working tree."""
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    return next(Path(folder).glob("*.whl"))


def make_environment(folder, tensorflow):
    """The Python of a new environment that has TensorFlow and a kernel."""
    venv.create(folder, with_pip=True)
    python = Path(folder, "bin", "python")
    run(python, "-m", "pip", "install", "-q", f"tensorflow=={tensorflow}", "ipykernel")
    run(python, "-m", "ipykernel", "install", "--prefix", folder, "--name", "colab")
    return python


def run_alone(notebook, wheel, environment, slow):
    """Run the cells of `notebook` in order, in an empty folder."""
    nb = nbformat.read(notebook, as_version=4)
    (install,) = [c for c in nb.cells if c.source.startswith(FIRST)]
    install.source = install.source[: install.source.index("git+")] + str(wheel)
    skip = (EVAL_FALSE,) if slow else (EVAL_FALSE, SLOW)
    with tempfile.TemporaryDirectory() as empty:
        client = Client(
            nb, skip=skip, timeout=None, kernel_name="colab",
            resources={"metadata": {"path": empty}},
        )  # fmt: skip
        client.create_kernel_manager()
        client.km.kernel_spec_manager.kernel_dirs = [f"{environment}/share/jupyter/kernels"]
        client.execute()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--tensorflow", default="2.20.0")
    parser.add_argument("--slow", action="store_true", help="run the slow cells too")
    told = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder, "wheel"))
        python = make_environment(Path(folder, "environment"), told.tensorflow)
        for notebook in told.notebooks:
            run_alone(notebook.resolve(), wheel, Path(folder, "environment"), told.slow)
            there = run(python, "-c", VERSION, capture_output=True).stdout.strip()
            print(f"{notebook.name}: every cell ran; TensorFlow {there}", flush=True)
            if there != told.tensorflow:
                sys.exit(f"TensorFlow was {told.tensorflow}: the course has replaced it")


if __name__ == "__main__":
    main()
