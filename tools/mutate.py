"""Break a module in many small ways, one at a time, and show what no test notices.

    pip install mutmut==3.8.1
    python tools/mutate.py losses test_losses.py
    python tools/mutate.py training test_training.py test_bert.py --sample 80

The module first, then the files of `tests/` that are to notice; with --sample, so many of the
changes, drawn at random. It works on a copy of what is committed.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parent.parent
# A line that is a text is a docstring.
SETTINGS = """[mutmut]
source_paths=sentiment_course
only_mutate=sentiment_course/{module}.py
do_not_mutate_patterns=^ *"[^"]*"$
use_git_change_detection=false
also_copy=
    settings.ini
    pytest.ini
    tools
pytest_add_cli_args=
    -xqp
    no:cacheprovider
pytest_add_cli_args_test_selection=
    {tests}
"""


def prepare(folder, module, tests):
    """Put what is committed into `folder`, with mutmut's settings."""
    parts = "sentiment_course tests tools settings.ini pytest.ini nbs"
    archive = subprocess.run(
        ["git", "archive", "HEAD", *parts.split()], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
    settings = SETTINGS.format(module=module, tests="\n    ".join(tests))
    (folder / "setup.cfg").write_text(settings)


def drawn(folder, module, count, seed):
    """The names of `count` changes, drawn at random from those that mutmut has made."""
    subprocess.run(["mutmut", "run", "none"], cwd=folder, capture_output=True)  # it only makes them
    made = folder / "mutants" / "sentiment_course" / f"{module}.py.meta"
    names = sorted(json.loads(made.read_text())["exit_code_by_key"])
    return random.Random(seed).sample(names, min(count or len(names), len(names)))


def by_forks(folder, names, tests):
    """Name of a change -> "killed", "survived", "no tests" (none runs it), "timeout" ..."""
    run = ["mutmut", "run", "--max-children", "1", *names]
    if subprocess.run(run, cwd=folder, stdout=sys.stderr).returncode:
        sys.exit("mutate: mutmut could not run the tests, see above")
    command = ["mutmut", "results", "--all", "true"]
    told = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = dict(line.strip().rsplit(": ", 1) for line in told.splitlines())
    return {name: verdict for name, verdict in found.items() if verdict != "not checked"}


def by_processes(folder, names, tests):
    """The same where Keras is at work, which cannot be forked; what no test runs survives too."""
    command = [sys.executable, "-m", "pytest", "-xqp", "no:cacheprovider", *tests]
    quietly = {"cwd": folder / "mutants", "capture_output": True}

    def verdict(name, limit=None):
        environment = os.environ | {"MUTANT_UNDER_TEST": name}
        try:
            done = subprocess.run(command, env=environment, timeout=limit, **quietly)
        except subprocess.TimeoutExpired:
            return "timeout"
        return "killed" if done.returncode else "survived"

    start = time.perf_counter()
    if verdict("") != "survived":
        sys.exit("mutate: the tests fail before anything is changed")
    limit = 60 + 10 * (time.perf_counter() - start)
    return {name: verdict(name, limit) for name in tqdm(names)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module")
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--sample", type=int, metavar="COUNT")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tests = [f"tests/{name}" for name in args.tests]
        prepare(folder, args.module, tests)
        names = drawn(folder, args.module, args.sample, args.seed)
        read = [folder / name for name in (f"sentiment_course/{args.module}.py", *tests)]
        keras = any("encoders" in path.read_text(encoding="utf-8") for path in read)
        found = (by_processes if keras else by_forks)(folder, names, tests)
        for name in (n for n, verdict in found.items() if verdict == "survived"):
            subprocess.run(["mutmut", "show", name], cwd=folder)
        print(args.module, dict(Counter(found.values())))


if __name__ == "__main__":
    main()
