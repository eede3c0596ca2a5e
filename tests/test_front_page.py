"""The front page: its figures are those of the ladder that was climbed, its table is complete."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
LADDER = pd.read_csv(ROOT / "images" / "ladder.csv").set_index("rung")
INDEX = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
TEXT = "\n".join(c.source for c in INDEX.cells if c.cell_type == "markdown")


def test_every_accuracy_on_the_page_is_measured():
    measured = {f"{accuracy:.1%}".replace("%", " %") for accuracy in LADDER.accuracy}
    told = set(re.findall(r"\d+\.\d %", TEXT))
    assert told and told <= measured


def test_ladder_rises():
    accuracy = LADDER.accuracy
    rungs = ["majority", "VADER lexicon", "TF-IDF", "MiniLM, fine-tuned"]
    assert accuracy[rungs].is_monotonic_increasing
    assert accuracy["word embeddings"] >= 0.79
    assert accuracy["MiniLM, fine-tuned"] >= 0.88
    assert (LADDER.low < accuracy).all() and (accuracy < LADDER.high).all()


def test_steps_said_to_be_real_are_and_the_others_are_noise():
    steps = pd.read_csv(ROOT / "images" / "steps.csv").set_index("step")
    names = LADDER.index.tolist()
    assert steps.index.tolist() == [
        f"{before} → {after}" for before, after in zip(names, names[1:], strict=False)
    ]
    real = steps.index[steps.low > 0].tolist()
    assert real == [
        "majority → VADER lexicon", "VADER lexicon → TF-IDF", "MiniLM, frozen → MiniLM, fine-tuned"
    ]  # fmt: skip
    assert (steps.drop(real).low < 0).all() and (steps.drop(real).high > 0).all()
    told = " ".join(TEXT.split())
    assert "steps to the lexicon, to TF-IDF and from the frozen to the fine-tuned encoder" in told
    assert "between TF-IDF, word embeddings and the frozen encoder are noise" in told
    gains = LADDER.accuracy.diff().dropna()
    assert steps.gain.to_numpy() == pytest.approx(gains.to_numpy())


def test_every_chapter_is_in_the_table():
    linked = set(re.findall(r"\]\(([\w-]+\.ipynb)\)", TEXT))
    assert linked == {p.name for p in (ROOT / "nbs").glob("*.ipynb")} - {"index.ipynb"}


def test_figure_is_there_and_is_described():
    assert (ROOT / "images" / "ladder.svg").stat().st_size > 1000
    (alternative,) = re.findall(r"!\[(.+?)\]\(\.\./images/ladder\.svg\)", TEXT)
    assert len(alternative) > 40
