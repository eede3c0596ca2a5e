"""The front page: its figures are those of the ladder that was climbed, its table is complete."""

import re
from configparser import ConfigParser
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import typer
import yaml

ROOT = Path(__file__).parent.parent
LADDER = pd.read_csv(ROOT / "images" / "ladder.csv").set_index("rung")
INDEX = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
SIDEBAR = yaml.safe_load((ROOT / "nbs" / "_quarto.yml").read_text())["website"]["sidebar"][
    "contents"
]
TEXT = "\n".join(c.source for c in INDEX.cells if c.cell_type == "markdown")


def test_every_accuracy_on_the_page_is_measured():
    measured = {f"{accuracy:.1%}".replace("%", " %") for accuracy in LADDER.accuracy}
    told = set(re.findall(r"\d+\.\d %", TEXT))
    assert told and told <= measured


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


def test_the_table_has_every_chapter_with_its_number_in_its_part():
    parts = re.split(r"\| \| \*\*(.+)\*\* \| \|", TEXT)
    rows = {
        name: re.findall(r"\| (\w+) \| \[[^]]+\]\(([\w-]+)\.ipynb\) \| .+ \|", text)
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    assert list(rows) == [s["section"] for s in SIDEBAR if "section" in s]
    for section in SIDEBAR:
        if "section" in section:
            globs = [entry["auto"] for entry in section["contents"]]
            files = sorted({p.stem for glob in globs for p in (ROOT / "nbs").glob(glob)})
            numbered = [(re.sub("^(A?)0", r"\1", f.split("-")[0].upper()), f) for f in files]
            assert rows[section["section"]] == numbered
    assert sum(map(len, rows.values())) == len(list((ROOT / "nbs").glob("*.ipynb"))) - 1


def test_the_way_in_leads_to_this_repository_and_to_chapter_1():
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    repository = settings["DEFAULT"]["git_url"]
    assert f"git clone {repository}\ncd {repository.rsplit('/')[-1]}\n" in TEXT
    assert f"[Repository]({repository})" in TEXT
    assert "[Start chapter 1](01-resources.ipynb)" in TEXT


def test_the_commands_on_the_page_are_those_of_the_command_line():
    from sentiment_course.cli import app

    commands = typer.main.get_command(app).commands
    told = re.findall(r"^sentiment-course (\w+) (.+)$", TEXT, re.MULTILINE)
    assert len(told) == 7 and {command for command, _ in told} == {"fit", "insights", "predict"}
    for command, rest in told:
        known = {option for p in commands[command].params for option in p.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= known
    assert "assets reviews minilm chinese multilingual" in (ROOT / "Makefile").read_text()


def test_figure_is_there_and_is_described():
    assert (ROOT / "images" / "ladder.svg").stat().st_size > 1000
    (alternative,) = re.findall(r"!\[(.+?)\]\(\.\./images/ladder\.svg\)", TEXT)
    assert len(alternative) > 40
