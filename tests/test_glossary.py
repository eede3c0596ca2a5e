"""The glossary: every link leads somewhere, every term in bold is in it, no two are alike."""

import ast
import re
from functools import cache
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from smalldocs.markdown import pandoc_id

from sentiment_course import glossary as module
from sentiment_course.glossary import PARTS, anchor, course_table, entries, glossary

ROOT = Path(__file__).parent.parent
NBS = ROOT / "nbs"
CHAPTERS = sorted(NBS.glob("[01]?-*.ipynb"))
TERMS = glossary()
ROWS = list(TERMS.itertuples())
# In these, two stars are no bold: code, formulas.
VERBATIM = re.compile(r"^```.*?^```|`[^`\n]*`|\$\$.*?\$\$|\$[^$]*\$", re.M | re.S)
HEADING = re.compile(r"^#+ (.+)$", re.M)
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@cache
def markdown(name):
    """The Markdown cells of a notebook, as one text."""
    cells = nbformat.read(NBS / name, as_version=4).cells
    return "\n\n".join(c.source for c in cells if c.cell_type == "markdown")


def key(term):
    """What two spellings of a term have in common: no capitals, hyphens, line ends or plural."""
    return re.sub(
        r"(?<=ss|ch|sh)es$|(?<=[^s])s$", "", " ".join(term.lower().replace("-", " ").split())
    )


def in_bold(name):
    """The terms that a notebook sets in bold."""
    prose = VERBATIM.sub("", markdown(name))
    return {" ".join(bold.split()) for bold in re.findall(r"\*\*(.+?)\*\*", prose, re.S)}


@cache
def sections(name):
    """The text under each heading of a notebook by its anchor; under "" what comes first."""
    prose = re.sub(r"^```.*?^```", "", markdown(name), flags=re.M | re.S)
    title, *parts = re.split(r"^(?=##+ )", prose, flags=re.M)
    return {"": title} | {pandoc_id(HEADING.match(part)[1]): part for part in parts}


@cache
def functions(path):
    """The names of the functions and classes at the top of a Python file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}


@cache
def exported_by(name):
    """The module that a notebook exports."""
    cells = nbformat.read(NBS / name, as_version=4).cells
    return next(c.source.split()[-1] for c in cells if c.source.startswith("#| default_exp"))


# ------------------------------------------------------------------ the table


@pytest.mark.parametrize("spelling", [key, anchor], ids=["term", "anchor"])
def test_no_two_terms_are_alike(spelling):
    spelled = TERMS.term.map(spelling)
    assert TERMS.term[spelled.duplicated(keep=False)].tolist() == []


def test_lines_have_every_column():
    lines = (ROOT / "sentiment_course" / "glossary.tsv").read_text(encoding="utf-8").splitlines()
    assert {line.count("\t") for line in lines} == {6}
    fields = [field for line in lines for field in line.split("\t")]
    assert [field for field in fields if field != field.strip() or '"' in field] == []


def test_both_languages_say_one_sentence():
    for row in ROWS:
        assert re.fullmatch(r"[A-Z][^.?!]*(\.\d[^.?!]*)*\.", row.meaning), row.term
        assert re.fullmatch(r"[^。？！]+。", row.meaning_chinese), row.term


def test_each_language_is_what_it_should_be():
    for row in ROWS:
        assert not CHINESE.search(row.term + row.meaning), row.term
        assert CHINESE.search(row.chinese) and CHINESE.search(row.meaning_chinese), row.term


def test_no_character_is_markdown():
    for row in ROWS:
        text = row.term + row.chinese + row.meaning + row.meaning_chinese
        assert not re.search(r"[*_`<>\[\]$|]", text), row.term


# The words of the article's own glossary, section 1.4, and the terms that answer them.
ARTICLE = {
    "大模型": "large-model", "创业资源整合": "integration", "人才资源": "talent-resources",
    "技术资源": "technology-resources", "市场资源": "market-resources",
    "人工智能": "artificial-intelligence", "创业": "entrepreneurship", "资源": "resource",
    "AI": "artificial-intelligence", "ML": "machine-learning", "DL": "deep-learning",
    "NLP": "natural-language-processing", "CV": "computer-vision", "GPT": "gpt",
}  # fmt: skip
UNKNOWN = "QAGLM"  # of which the errata say that it was not found


@pytest.mark.parametrize("word", ARTICLE)
def test_the_article_s_own_glossary_is_in_it(word):
    named = TERMS.loc[ARTICLE[word]]
    assert word in named.chinese


def test_what_is_missing_of_the_article_s_glossary_is_judged():
    errata = course_table("errata.tsv")
    (row,) = errata[errata.quotation.str.startswith(UNKNOWN)].itertuples()
    assert (row.section, row.verdict) == ("1.4.3", "not found")


# ------------------------------------------------------------------ where its links lead


def test_each_link_leads_to_a_section_that_speaks_of_the_term():
    for row in ROWS:
        name, _, place = row.chapter.partition("#")
        text = sections(name).get(place, "").lower().replace("-", " ")
        speaks = key(row.term) in " ".join(text.split())
        assert speaks, f"no section {row.chapter} that speaks of {row.term}"


def test_each_symbol_is_public_and_its_page_is_known():
    for row in ROWS:
        if row.symbol:
            name, symbol = row.symbol.split(".")
            # Not by import, which would load TensorFlow.
            assert symbol in functions(ROOT / "sentiment_course" / f"{name}.py"), row.symbol
            page, _, place = module._page(row.symbol).partition("#")
            assert not symbol.startswith("_") and place == symbol.lower(), row.symbol
            assert exported_by(page) == name, row.symbol


def test_each_test_is_there():
    for row in ROWS:
        if row.test:
            file, _, function = row.test.partition("::")
            assert function.startswith("test_"), row.test
            assert function in functions(ROOT / "tests" / file), row.test


@pytest.mark.parametrize("symbol", ["losses.no_such_loss", "nowhere.at_all", "losses"])
def test_a_symbol_that_is_gone_is_named(symbol):
    with pytest.raises(ValueError, match=f"no {symbol}:"):
        module._page(symbol)


# ------------------------------------------------------------------ the chapters


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_every_term_in_bold_is_in_the_glossary(path):
    known = set(TERMS.term.map(key))
    assert sorted(bold for bold in in_bold(path.name) if key(bold) not in known) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_links_to_the_glossary(path):
    links = re.findall(r"\]\(b2-glossary\.ipynb(?:#[\w.-]+)?\)", markdown(path.name))
    assert links, "say in its recap that terms in bold are in the [glossary](b2-glossary.ipynb)"


def test_links_to_a_term_lead_to_one():
    for path in NBS.glob("*.ipynb"):
        linked = re.findall(r"b2-glossary\.ipynb#([\w.-]+)", markdown(path.name))
        if path.name != "b2-glossary.ipynb":  # which gives an example in code
            assert set(linked) <= set(TERMS.index), path.name


# ------------------------------------------------------------------ the page


def test_parts_are_those_of_the_sidebar():
    site = yaml.safe_load((NBS / "_quarto.yml").read_text(encoding="utf-8"))
    sections = [s for s in site["website"]["sidebar"]["contents"] if "section" in s]
    in_sidebar = {s["section"]: tuple(c["auto"] for c in s["contents"]) for s in sections}
    assert in_sidebar == PARTS


def test_terms_are_sorted_within_their_part():
    assert list(TERMS.part.unique()) == [p for p in PARTS if (TERMS.part == p).any()]
    for _, terms in TERMS.groupby("part", observed=True):
        assert terms.term.str.casefold().is_monotonic_increasing


def test_a_row_without_a_chapter_is_named():
    with pytest.raises(ValueError, match="c1-x.ipynb is no chapter"):
        module._part_of("c1-x.ipynb#y")


def test_anchors_are_those_of_the_site_and_of_nothing_else_on_the_page():
    assert TERMS.index.tolist() == [pandoc_id(term) for term in TERMS.term]
    others = {pandoc_id(h) for h in HEADING.findall(markdown("b2-glossary.ipynb"))}
    others |= functions(ROOT / "sentiment_course" / "glossary.py")
    assert not others & set(TERMS.index)


def test_page_shows_every_part_as_the_table_has_it():
    cells = nbformat.read(NBS / "b2-glossary.ipynb", as_version=4).cells
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    shown = [o.data["text/markdown"] for o in outputs if "text/markdown" in o.get("data", {})]
    parts = [p for p in PARTS if (TERMS.part == p).any()]
    assert shown == [entries(part) for part in parts], "run tools/run_notebook.py on it"


def test_an_entry_as_written():
    row = TERMS.loc["gradient-clipping"]
    written = entries("Foundations").split("\n\n### gradient clipping\n\n")[1]
    file, _, test = row.test.partition("::")
    said = test.removeprefix("test_").replace("_", " ")
    assert written.split("\n\n###")[0] == (
        f"{row.meaning}\n\n"
        f'<span lang="zh-Hans">**梯度裁剪**：{row.meaning_chinese}</span>\n\n'
        f"[chapter {int(row.chapter[:2])}]({row.chapter}) · [tested: {said}](../tests/{file})"
    )
    code = "[<code>losses.cross_entropy</code>](02-losses.ipynb#cross_entropy)"
    assert f" · {code} · [" in entries("Foundations")
    assert "[appendix A2](a02-assets.ipynb#is-it-the-right-file) · " in entries("Machine rooms")


def test_entries_refuse_an_unknown_part():
    with pytest.raises(ValueError, match="part must be one of Foundations, .*, got 'Basics'"):
        entries("Basics")


def test_nothing_is_taken_for_a_gap_or_a_number():
    assert TERMS.drop(columns="part").map(type).eq(str).all(axis=None)
    assert isinstance(TERMS, pd.DataFrame) and TERMS.notna().all(axis=None)
