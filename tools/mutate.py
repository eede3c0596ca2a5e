"""Break a module in many small ways, one at a time, and show what no test notices.

    pip install mutmut==3.8.1
    python tools/mutate.py losses test_losses.py
    python tools/mutate.py training test_training.py test_bert.py --sample 80

The module first, then the files of `tests/` that are to notice; with --sample, so many of the
changes, drawn at random. It works on a copy of what is committed.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A line that is a text is a docstring. TensorFlow at work cannot be forked.
SETTINGS = """[mutmut]
source_paths=sentiment_course
only_mutate=sentiment_course/{module}.py
do_not_mutate_patterns=^ *"[^"]*"$
use_git_change_detection=false
process_isolation={isolation}
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
    source = (folder / "sentiment_course" / f"{module}.py").read_text(encoding="utf-8")
    isolation = "forkserver" if "keras" in source else "fork"
    selection = "\n    ".join(f"tests/{name}" for name in tests)
    settings = SETTINGS.format(module=module, isolation=isolation, tests=selection)
    (folder / "setup.cfg").write_text(settings)


def drawn(folder, module, count, seed):
    """The names of `count` changes, drawn at random from those that mutmut has made."""
    subprocess.run(["mutmut", "run", "none"], cwd=folder, capture_output=True)  # it only makes them
    made = folder / "mutants" / "sentiment_course" / f"{module}.py.meta"
    names = sorted(json.loads(made.read_text())["exit_code_by_key"])
    return random.Random(seed).sample(names, min(count, len(names)))


def verdicts(folder):
    """Name of a change -> "killed", "survived", "no tests" (none runs it), "timeout" ..."""
    command = ["mutmut", "results", "--all", "true"]
    told = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = dict(line.strip().rsplit(": ", 1) for line in told.splitlines())
    return {name: verdict for name, verdict in found.items() if verdict != "not checked"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module")
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--sample", type=int, metavar="COUNT")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, args.module, args.tests)
        names = drawn(folder, args.module, args.sample, args.seed) if args.sample else []
        command = ["mutmut", "run", "--max-children", "1", *names]
        if subprocess.run(command, cwd=folder, stdout=sys.stderr).returncode:
            sys.exit("mutate: mutmut could not run the tests, see above")
        found = verdicts(folder)
        for name in (n for n, verdict in found.items() if verdict == "survived"):
            subprocess.run(["mutmut", "show", name], cwd=folder)
        print(args.module, dict(Counter(found.values())))


if __name__ == "__main__":
    main()
