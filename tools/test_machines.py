"""Run what is numeric again as other machines would: other threads, other examples, another order.

    python tools/test_machines.py

The same tests and notebooks must pass with one thread and with two, with three seeds of Hypothesis
(which then draws other examples), and in random order. The settings of BLAS are left as they are;
that an answer hangs on no kernel is a matter of what the tests assert.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What is not numeric: pages, the command line, packaging, the house rules.
NOT_NUMERIC = ("site", "site_browser", "front_page", "package", "house", "assets", "files", "cli",
               "doctor", "glossary", "exercises", "slow_cells")  # fmt: skip
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
           "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")  # fmt: skip
RUNS = [(1, 0), (2, 1), (2, 2)]  # threads, and the seed of Hypothesis and of the order


def run(threads, *command):
    """Run `command` with so many threads; stop where it fails."""
    environment = os.environ | {name: str(threads) for name in THREADS}
    print(f"\n{threads} thread(s): {' '.join(command)}", flush=True)
    if subprocess.run(command, cwd=ROOT, env=environment).returncode:
        sys.exit(f"not the same on every machine: {' '.join(command)}")


def main():
    files = sorted((ROOT / "tests").glob("test_*.py"))
    numeric = [str(p) for p in files if p.stem.removeprefix("test_") not in NOT_NUMERIC]
    for threads, seed in RUNS:
        run(threads, sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile",
            "--no-loadscope-reorder",
            "-p", "randomly", f"--hypothesis-seed={seed}",
            f"--randomly-seed={seed}", *numeric)  # fmt: skip
    for threads in (1, 2):
        run(threads, str(Path(sys.executable).with_name("nbdev_test")), "--n_workers", "2")


if __name__ == "__main__":
    main()
