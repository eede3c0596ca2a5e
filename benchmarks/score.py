"""Score film reviews with ours and with others, in turn, on the same weights: `make bench`.

python benchmarks/score.py MODEL OTHERS_PYTHON [--texts N] [--rounds N] [--out FILE]
MODEL is a folder saved by `sentiment-course ladder`; OTHERS_PYTHON has requirements.txt.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from sentiment_course.doctor import cpu_flags
from sentiment_course.reviews import load_reviews, split_reviews

HERE = Path(__file__).parent
OURS = ["ours-8", "ours-32", "ours-keras"]
OTHERS = ["torch-float32", "torch-bfloat16", "onnxruntime-32", "onnxruntime-8",
          "openvino-bf16", "openvino-int8"]  # fmt: skip


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("others", help="Python of the others' environment")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[*OURS, *OTHERS])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "scoring.json")
    return parser.parse_args()


def start(name, told, task):
    """A contender in a process of its own, ready to run."""
    python = sys.executable if name in OURS else told.others
    command = [python, HERE / "contenders.py", name, told.model, task]
    log = subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        env=os.environ | {"TOKENIZERS_PARALLELISM": "true"},
    )  # fmt: skip
    if not process.stdout.readline():
        raise SystemExit(f"{name} did not start: run {' '.join(map(str, command))}")
    return process


def ask(process, task):
    process.stdin.write(f"{task}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def environment():
    return {"processors": len(os.sched_getaffinity(0)), "machine": platform.machine(),
            "flags": sorted(f for f in cpu_flags() if f.startswith(("avx512_", "amx"))),
            "load": os.getloadavg()[0], "python": platform.python_version()}  # fmt: skip


def main():
    told = arguments()
    train, test = split_reviews(load_reviews("movies"))
    test, classes = test.head(told.texts), json.loads(
        (told.model / "classifier.json").read_text(encoding="utf-8"))["classes"]  # fmt: skip
    task = {"texts": list(test["text"]), "calibrate": list(train["text"][:300]),
            "classes": classes}  # fmt: skip
    runs = {name: {"bulk": [], "bulk_cpu": [], "one": []} for name in told.only}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "task.json")
        place.write_text(json.dumps(task), encoding="utf-8")
        processes = {name: start(name, told, place) for name in told.only}
        for _ in range(told.rounds):
            for name, process in processes.items():
                done, one = ask(process, "bulk"), ask(process, "one")
                runs[name]["bulk"].append(len(test) / done["seconds"])
                runs[name]["bulk_cpu"].append(len(test) / done["cpu"])
                runs[name]["one"].append(1000 * one["seconds"] / 40)
                said = [classes[i] for i in done["said"]]
                runs[name]["accuracy"] = float((test["label"] == said).mean())
            print({n: round(r["bulk"][-1]) for n, r in runs.items()}, file=sys.stderr)
            found = {"environment": environment(), "texts": len(test), "runs": runs}
            told.out.parent.mkdir(exist_ok=True)
            told.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


main()
