"""The wheel alone, outside the repository: the package, its command, a fit and a predict."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command, cwd, **environment):
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=True
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with nothing in it but the installed wheel."""
    dist, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "course"
    run("git", "clone", "-q", str(ROOT), str(source), cwd=dist)
    build = ["build", "--wheel", "--no-isolation", "--outdir", str(dist)]
    run(sys.executable, "-m", *build, cwd=source)
    (wheel,) = dist.glob("*.whl")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile",
        "--target", str(site), str(wheel), cwd=dist)  # fmt: skip
    return site


def test_wheel_holds_the_package_and_nothing_else(installed):
    tops = {p.name for p in installed.iterdir() if not p.name.endswith(".dist-info")}
    assert tops == {"sentiment_course", "bin"}
    assert (installed / "bin" / "sentiment-course").is_file()


def test_fit_and_predict_on_a_table_of_your_own(installed, tmp_path):
    rows = [(f"{word} service, order {i}", mark) for i in range(12)
            for word, mark in [("Lovely", "happy"), ("Dreadful", "angry")]]  # fmt: skip
    with open(tmp_path / "calls.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("what they said", "mood"), *rows])
    command = [sys.executable, str(installed / "bin" / "sentiment-course")]
    outside = {"cwd": tmp_path, "PYTHONPATH": str(installed)}
    where = "import sentiment_course; print(sentiment_course.__file__)"
    assert str(installed) in run(sys.executable, "-c", where, **outside).stdout
    columns = ["--text-column", "what they said"]
    done = run(*command, "fit", "--data", "calls.csv", *columns, "--label-column", "mood",
               "--rung", "frozen", "--model", "moods", **outside)  # fmt: skip
    assert "held out" in done.stdout
    run(*command, "predict", "calls.csv", *columns, "--model", "moods", "--out", "scored.csv",
        **outside)  # fmt: skip
    with open(tmp_path / "scored.csv", newline="", encoding="utf-8") as file:
        scored = list(csv.DictReader(file))
    assert [(r["what they said"], r["mood"]) for r in scored] == rows
    assert {r["label"] for r in scored} <= {"happy", "angry"}
    assert all(0.5 <= float(r["probability"]) <= 1 for r in scored)
