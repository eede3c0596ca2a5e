"""Break a module in many small ways, one at a time, and show what no test notices.

    pip install mutmut==3.8.1
    python tools/mutate.py losses test_losses.py
    python tools/mutate.py training test_training.py test_bert.py --sample 80

Works on a copy of what is committed. The first argument is the module, the others the files of
`tests/` that are to notice; with --sample, so many of the mutants, drawn at random.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = """[mutmut]
source_paths=sentiment_course
only_mutate=sentiment_course/{module}.py
process_isolation=forkserver
pytest_add_cli_args=
    -qp
    no:cacheprovider
pytest_add_cli_args_test_selection=
    {tests}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module")
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
