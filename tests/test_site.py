"""The tools that build the site: each check finds its defect, and a small project builds whole."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

TOOLS = Path(__file__).parent.parent / "tools"
sys.path.insert(0, str(TOOLS))

import build_readme  # noqa: E402
import build_site  # noqa: E402
import check_site  # noqa: E402
import npm_packages  # noqa: E402
import site_figures  # noqa: E402
import site_formulas  # noqa: E402
import site_html  # noqa: E402
import site_pages  # noqa: E402
import site_styles  # noqa: E402
import site_symbols  # noqa: E402

SETTINGS = build_site.Settings("https://github.com/me/it", "main", "https://me.github.io/it")
PAGE = "<html><head><title>T</title>{head}</head><body><h1>T</h1>{body}</body></html>"


def problems(folder, body="", head="", page=PAGE, **where):
    """What the checks say of a site with one page beside `other.html`."""
    (folder / "other.html").write_text(PAGE.format(head="", body='<p id="here">x</p>'))
    (folder / "there.png").write_bytes(b"")
    (folder / "page.html").write_text(page.format(head=head, body=body))
    return [problem.what for problem in check_site.problems_of(folder, **where)]


@pytest.mark.parametrize(
    "body",
    [
        '<a href="other.html">x</a>',
        '<a href="other.html#here">x</a>',
        '<a id="top" href="#top">x</a>',
        '<a href="https://example.org/gone">x</a>',
        '<a href="mailto:a@b.c">x</a>',
        '<img src="there.png" alt="">',
        '<img src="data:image/png;base64,AA" alt="A plot">',
        r"<pre><code>\frac and $$</code></pre>",
    ],
)
def test_a_sound_page_has_no_problem(tmp_path, body):
    assert problems(tmp_path, body) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('<a href="gone.html">x</a>', "link to gone.html: no such page"),
        ('<a href="other.html#gone">x</a>', "link to other.html#gone: no such anchor"),
        ('<a href="#gone">x</a>', "link to #gone: no such anchor"),
        ('<img src="gone.png" alt="">', "loads gone.png, which is not there"),
        ('<p id="a"></p><b id="a"></b>', "two elements have the id a"),
        ('<img src="there.png">', "1 images without alternative text"),
        ('<img src="https://a.org/x.png" alt="">', "loads https://a.org/x.png from another site"),
        ('<img srcset="//a.org/x.png 2x" alt="">', "loads //a.org/x.png from another site"),
        ('<p style="fill: url(http://a.org/x)"></p>', "loads http://a.org/x from another site"),
        ('<style>@import "https://a.org/x";</style>', "loads https://a.org/x from another site"),
        ('<script src="https://a.org/x"></script>', "loads https://a.org/x from another site"),
        ('<script>import("//a.org/x")</script>', "a script speaks of //a.org/x, another site"),
        (r"<p>\frac{1}{2}</p>", r"\frac stands outside a formula"),
    ],
)  # fmt: skip
def test_each_defect_of_a_page_is_found(tmp_path, body, expected):
    assert problems(tmp_path, body) == [expected]


def test_styles_and_fonts_from_elsewhere_are_found(tmp_path):
    (tmp_path / "a.css").write_text("@font-face { src: url('https://a.org/f.woff2') }")
    head = (
        '<link rel="stylesheet" href="https://a.org/s.css"><link rel="canonical" href="https://x">'
    )
    assert problems(tmp_path, head=head) == [
        "loads https://a.org/s.css from another site",
        "loads https://a.org/f.woff2 from another site",
    ]


def test_a_page_without_a_title_is_found(tmp_path):
    assert problems(tmp_path, page="<html><body>{head}{body}</body></html>") == ["has no title"]


def test_links_to_the_published_site_and_the_repository_are_held_to_the_files(tmp_path):
    body = (
        '<a href="https://me.github.io/it/other.html">x</a>'
        '<a href="https://me.github.io/it/gone.html">x</a>'
        '<a href="https://github.com/me/it/blob/main/page.html#L3">x</a>'
        '<a href="https://github.com/me/it/blob/main/gone.py">x</a>'
    )
    found = problems(
        tmp_path, body, root=tmp_path, address=SETTINGS.address, source=SETTINGS.source("")
    )
    assert found == [
        "link to /gone.html: no such page",
        "link to gone.py in the repository: no such file",
    ]


def test_formulas_are_typeset_and_a_bad_one_is_named(tmp_path):
    good = r'<span class="math inline">\(x &lt; y\)</span>'
    bad = r'<span class="math display">\[\frac{1\]</span>'
    (tmp_path / "page.html").write_text(good + bad)
    count, found = site_formulas.typeset_pages(tmp_path)
    text = (tmp_path / "page.html").read_text()
    assert count == 2
    assert "katex-mathml" in text and r"\(" not in text
    assert [problem.page for problem in found] == ["page.html"]
    assert r"'\\frac{1'" in found[0].what
    assert (tmp_path / "site_libs/katex/fonts/KaTeX_Main-Regular.woff2").is_file()
    assert not list(check_site.load_problems(  # nothing that the style loads is missing
        tmp_path, tmp_path / "site_libs/katex/katex.min.css",
        check_site.css_loads((tmp_path / "site_libs/katex/katex.min.css").read_text()),
    ))  # fmt: skip


def test_another_package_in_the_place_of_the_pinned_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SENTIMENT_COURSE_HOME", str(tmp_path))
    package = npm_packages.KATEX
    monkeypatch.setattr(
        npm_packages, "npm_pack", lambda name, folder: Path(folder, package.file).touch()
    )
    with pytest.raises(check_site.SiteError, match="another file"):
        npm_packages.npm_package(package)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "number"),
    [("02-losses.ipynb", "2"), ("12-bert.ipynb", "12"), ("a01-x.ipynb", "A1"), ("index.ipynb", "")],
)
def test_a_chapter_is_numbered_by_its_file(name, number):
    assert site_pages.chapter_number(name) == number


# ------------------------------------------------------------------ plots

SVG = """<?xml version="1.0"?>
<svg width="72pt" height="36pt" viewBox="0 0 72 36"><metadata>x</metadata>
<g id="figure_1"><path id="m1" style="fill: #fdfcf9; stroke: #23272e"/><use xlink:href="#m1"/>
<text style="font-family: 'DejaVu Sans', serif">x</text></g></svg>"""


def plotting(source, kind="image/svg+xml", drawn=SVG):
    output = {"output_type": "display_data", "data": {kind: drawn}}
    return {"cell_type": "code", "id": "ab", "source": source, "outputs": [output]}


def described(source, **more):
    cell = plotting(source, **more)
    site_figures.describe_plots([cell])
    return cell["source"], cell["outputs"][0]["data"]["text/html"]


def test_a_plot_has_the_words_that_its_cell_says_and_else_its_titles():
    source, drawn = described('#| fig-alt: "It\'s \\"up\\""\n#| fig-cap: Going up\nplot()')
    assert source == "plot()"
    assert 'aria-label="It&#x27;s &quot;up&quot;"' in drawn
    assert "<figcaption>Going up</figcaption>" in drawn
    assert 'aria-label="Plot: Loss by epoch"' in described('ax.set(title="Loss by epoch")')[1]
    picture = described('#| fig-alt: "A dot"\nplot()', kind="image/png", drawn="AA")[1]
    assert '<img src="data:image/png;base64,AA" alt="A dot">' in picture


def test_a_plot_is_drawn_in_the_colours_of_the_page_with_ids_of_its_own():
    cells = [plotting("a()"), plotting("b()")]
    site_figures.describe_plots(cells)
    one, two = (cell["outputs"][0]["data"]["text/html"] for cell in cells)
    assert "fill: var(--plot-paper); stroke: var(--plot-ink)" in one
    assert 'id="plot0-m1"' in one and 'href="#plot0-m1"' in one and "figure_1" not in one
    assert 'id="plot1-m1"' in two and "DejaVu" not in two and "metadata" not in two


def test_of_a_plot_places_are_rounded_and_numbers_written_in_it_are_not():
    written = '<text x="1.23456">0.00015</text>'
    drawn = described("a()", drawn=SVG.replace("</svg>", f"{written}</svg>"))[1]
    assert '<text x="1.23">0.00015</text>' in drawn


def test_a_plot_with_shades_or_filled_labels_keeps_a_light_ground():
    def ground(part):
        drawn = SVG.replace("</svg>", f"{part}</svg>")
        return described("a()", drawn=drawn)[1].split(">")[0]

    box = '<g id="text_1"><g id="patch_2"><path d="M0 0" style="fill: {}"/></g></g>'
    assert ground("") == ground(box.format("#fdfcf9")) == '<figure class="plot"'
    for part in ("<image />", '<g id="QuadMesh_1"/>', box.format("#56b4e9")):
        assert ground(part) == '<figure class="plot shaded"'


def test_plots_without_words_are_listed():
    both = '#| fig-alt: "A line"\n#| fig-cap: "It rises."\na()'
    cells = [plotting(both), plotting('#| fig-cap: "It falls."\nb()'), plotting("c()")]
    found = [(p.page, p.what) for p in site_figures.undescribed({"cells": cells}, "x.ipynb")]
    lacks = [("x.ipynb", f"cell ab draws, and has no {name}") for name in ("fig-alt", "fig-cap")]
    assert found == [lacks[0], *lacks]


def test_every_plot_of_the_course_says_in_words_what_it_shows():
    notebooks = [
        (path.name, json.loads(path.read_text(encoding="utf-8")))
        for path in sorted((TOOLS.parent / "nbs").glob("*.ipynb"))
    ]
    missing = [p for name, nb in notebooks for p in site_figures.undescribed(nb, name)]
    assert missing == []


def test_the_style_of_plots_draws_the_same_at_every_run():
    code = """if True:
        import hashlib, io
        import matplotlib
        matplotlib.use("agg")
        from matplotlib import pyplot, style
        style.use("sentiment_course.course")
        pyplot.plot([1, 3, 2], "o-", label="x")
        pyplot.legend()
        drawn = io.BytesIO()
        pyplot.savefig(drawn, format="svg", metadata={"Creator": None, "Date": None})
        print(hashlib.sha256(drawn.getvalue()).hexdigest())
    """
    runs = {subprocess.run([sys.executable, "-c", code], stdout=-1).stdout for _ in "12"}
    assert len(runs) == 1 and len(runs.pop()) == 65


# ------------------------------------------------------------------ what pages are made of


def test_names_lead_to_the_pages_beside_not_to_the_published_ones():
    text = "[`f`](https://me.github.io/it/02-losses.html#f), [x](https://a.org/other.html#f)"
    output = {"data": {"text/markdown": ["*As* ", "[`f`](https://b.org/02-losses.html#f)"]}}
    cells = [
        {"cell_type": "markdown", "source": text},
        {"cell_type": "code", "source": "", "outputs": [output, {"text": "1"}]},
    ]
    site_pages.keep_links_here(cells, ["02-losses"])
    assert cells[0]["source"] == "[`f`](02-losses.html#f), [x](https://a.org/other.html#f)"
    assert output["data"]["text/markdown"] == "*As* [`f`](02-losses.html#f)"


def test_links_out_of_an_output_lead_to_the_repository(tmp_path):
    text = ["[x](../tests/test_x.py) ", "[y](02-losses.ipynb#y) [z](https://a.org)"]
    cell = {"cell_type": "code", "source": "show()", "outputs": [{"data": {"text/markdown": text}}]}
    page, notebook = tmp_path / "b2-glossary.ipynb", {"cells": [cell]}
    site_pages.adapt([cell], page, tmp_path, SETTINGS, notebook)
    assert cell["outputs"][0]["data"]["text/markdown"] == (
        "[x](https://github.com/me/it/blob/main/tests/test_x.py) "
        "[y](02-losses.ipynb#y) [z](https://a.org)"
    )


def documented(name, source='[source](https://a.org/blob/main/m.py#L3){style="float"}\n\n'):
    """A cell as nbdev's show_doc leaves it."""
    made_up = f"```python\n\ndef {name}(\n    args:VAR_POSITIONAL\n):\n\n\n```"
    text = f"---\n\n{source}### {name}\n\n{made_up}\n\n*T*\n"
    return {
        "cell_type": "code",
        "source": f"show_doc({name})",
        "outputs": [{"data": {"text/markdown": [text]}}],
    }


def test_functions_shown_together_have_one_heading_with_the_names_of_all():
    code = {"cell_type": "code", "outputs": []}
    code["source"] = (
        '#| code-fold: show\n#| code-summary: "Exported source"\ndef f():\n    1\ndef g():\n    2'
    )
    first = {"cell_type": "markdown", "source": "## First"}
    cells = [first, documented("g"), code, documented("f")]
    _, named, shown = site_symbols.name_symbols(cells, Path("none"))
    text = named["outputs"][0]["data"]["text/markdown"]
    assert text.endswith("\n\n### f, [g]{#g} {#f .symbol}\n") and text.startswith("[source]")
    assert shown["source"].startswith("def f")
    _, early = site_symbols.name_symbols([first | {"source": "text"}, documented("h", "")], Path())
    assert "## h {#h .symbol}" in early["outputs"][0]["data"]["text/markdown"].split("\n")


def test_a_function_named_like_a_section_or_a_class_leaves_it_its_anchor():
    prose = {"cell_type": "markdown", "source": "text\n\n## [`F`](x.html#f)!\n\ntext"}
    cells = [prose, *(documented(name, source="") for name in ("f", "G", "g"))]
    _, *named = site_symbols.name_symbols(cells, Path("none"))
    texts = [cell["outputs"][0]["data"]["text/markdown"] for cell in named]
    assert [text.split("\n")[0] for text in texts] == [
        "### f {#f-itself .symbol}", "### G {#g .symbol}", "### g {#g-itself .symbol}"
    ]  # fmt: skip


MODULE = """
class Model(Base):
    "A model."
    size: int = 3  # of it

    def __init__(
        self,
        *texts,  # to read
    ):
        pass


def read(path, *, strict=False):
    return path


def one(): return 1
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Model",
            "class Model(Base):\n    size: int = 3  # of it\n    def __init__(\n        self,\n"
            "        *texts,  # to read\n    ):",
        ),
        ("read", "def read(path, *, strict=False):"),
        ("one", "def one(): return 1"),
    ],
)
def test_a_signature_stands_as_it_does_in_the_module(tmp_path, name, expected):
    (tmp_path / "m.py").write_text(MODULE)
    (cell,) = site_symbols.name_symbols([documented(name)], tmp_path)
    text = cell["outputs"][0]["data"]["text/markdown"]
    assert f"```python\n{expected}\n```\n" in text and "*T*" in text


def test_the_imports_of_a_chapter_are_folded_into_one_block_that_runs():
    sources = [
        "#| hide\nfrom importlib.util import find_spec",
        "#| export\nimport numpy as np\nimport json",
        "with quiet():  # it greets\n    import pandas",
        "%pip install it",
        "from pathlib import Path\nx = 1",
    ]
    cells = [{"cell_type": "code", "source": source, "outputs": []} for source in sources]
    block = site_symbols.imports_of({"cells": cells}, "own.losses")
    assert block.split("\n") == [
        "import json", "from pathlib import Path", "", "import numpy as np", "import pandas", "",
        "from own.losses import *  # what this chapter defines",
    ]  # fmt: skip
    section = {"cell_type": "markdown", "source": "## First"}
    page = [cells[1], cells[4], section, cells[2]]
    shown = site_symbols.fold_imports(page, {"cells": cells}, "own.losses")
    assert shown[0] is cells[4] and shown[2:] == [section, cells[2]]
    assert shown[1]["source"].startswith("#| code-fold: true\n") and block in shown[1]["source"]


def test_a_long_list_of_contents_loses_functions_then_its_second_level():
    def contents(terms, names):
        inner = "".join(f'<li><a href="#{n}" id="x">{n}</a></li>' for n in terms + names)
        return f'<ul><li><a href="#a" id="x">A</a><ul>{inner}</ul></li></ul>'

    names = [f"f{i}" for i in range(30)]
    assert site_html.shortened(contents(["t"], names[:3]), names) == contents(["t"], names[:3])
    assert site_html.shortened(contents(["t"], names), names) == contents(["t"], [])
    terms = [f"t{i}" for i in range(50)]
    alone = '<ul><li><a href="#a" id="x">A</a></li></ul>'
    assert site_html.shortened(contents(terms, []), []) == alone


def test_terms_are_linked_to_the_glossary_and_found_by_their_chinese_names(tmp_path):
    term = '<h3 id="l-2" class="x">L&#x27;s norm</h3>\n<p>It.</p>\n<p><span lang="zh-Hans">'
    term += "<strong>范数</strong>：x"
    (tmp_path / "b2-glossary.html").write_text(term)
    (tmp_path / "02-x.html").write_text("<strong>l&#x27;s Norm</strong> <strong>other</strong>")
    entry = {"href": "b2-glossary.html#l-2", "section": "L's norm"}
    (tmp_path / "search.json").write_text(json.dumps([entry, entry | {"href": "02-x.html#l-2"}]))
    site_html.know_terms(tmp_path)
    linked = '<a class="term" href="b2-glossary.html#l-2">l&#x27;s Norm</a>'
    assert linked in (tmp_path / "02-x.html").read_text()
    assert "<strong>other</strong>" in (tmp_path / "02-x.html").read_text()
    assert '<span lang="zh-Hans">范数</span></h3>' in (tmp_path / "b2-glossary.html").read_text()
    found = [e["section"] for e in json.loads((tmp_path / "search.json").read_text())]
    assert found == ["L's norm · 范数", "L's norm"]


def test_the_name_of_a_function_that_no_page_documents_is_no_link(tmp_path):
    link = '<a href="02-x.html#{}"><code>{}</code></a>'
    links = [("f", "F"), ("g", "g"), ("h", "other")]
    text = "".join(link.format(*names) for names in links)
    (tmp_path / "02-x.html").write_text(f'<p id="f"></p>{text}')
    site_html.unlink_hidden(tmp_path)
    expected = link.format("f", "F") + "<code>g</code>" + link.format("h", "other")
    assert (tmp_path / "02-x.html").read_text() == f'<p id="f"></p>{expected}'


def test_styles_keep_what_pages_use():
    css = (
        '@charset "UTF-8";/* x */:root{--a:1}.on,.off{color:red}.off b{x:y}'
        "@media print{.on{x:y}.off{x:y}}@media screen{.off:is(.a,.b){x:y}}@font-face{src:z}p{x:y}"
    )
    assert site_styles.used_only(css, {"on"}) == (
        '@charset "UTF-8";:root{--a:1}.on{color:red}@media print{.on{x:y}}@font-face{src:z}p{x:y}'
    )


README = r"""# Title

See [losses](02-losses.ipynb#here), ![a figure](../images/a.png), [site](https://a.org),
<img src="images/b.png"> and `[not](a.link)`.

```text
[neither](this.one)
```

[ref]: ../LICENSE
"""


def readme_project(folder):
    """A folder with a front page of Markdown, of shown code and of hidden code."""
    output = nbformat.v4.new_output("stream", text="42\n")
    nb = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(README),
            nbformat.v4.new_code_cell("#| hide\nsecret()"),
            nbformat.v4.new_code_cell("#| slow\nprint(42)", outputs=[output]),
            nbformat.v4.new_code_cell("#| echo: false\nunseen()", outputs=[output]),
        ]
    )
    (folder / "nbs").mkdir()
    nbformat.write(nb, folder / "nbs" / "index.ipynb")
    return folder


def test_the_readme_is_the_front_page_with_links_from_the_root(tmp_path):
    text = build_readme.readme(readme_project(tmp_path) / "nbs" / "index.ipynb")
    assert "[losses](nbs/02-losses.ipynb#here), ![a figure](images/a.png)" in text
    assert "[site](https://a.org)" in text and '<img src="nbs/images/b.png">' in text
    assert "`[not](a.link)`" in text and "[neither](this.one)" in text
    assert "[ref]: LICENSE" in text
    assert "secret" not in text and "unseen" not in text and "slow" not in text
    assert text.endswith("```python\nprint(42)\n```\n\n```text\n42\n```\n\n```text\n42\n```\n")


def run(tool, folder, *options):
    command = [sys.executable, str(TOOLS / tool), "--root", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_this_readme_is_in_step():
    assert run("build_readme.py", TOOLS.parent, "--check").returncode == 0


def test_a_readme_out_of_step_is_told_in_one_line(tmp_path):
    readme_project(tmp_path)
    stale = run("build_readme.py", tmp_path, "--check")
    assert stale.returncode == 1 and stale.stderr.count("\n") == 1
    assert not (tmp_path / "README.md").exists()
    assert run("build_readme.py", tmp_path).returncode == 0
    assert run("build_readme.py", tmp_path, "--check").returncode == 0


# ------------------------------------------------------------------ a small project, built whole

SOLUTION = (
    "<details><summary>Solution</summary>\n\n```python\n2 * x\n```\n\n**Why** $2$\n\n</details>"
)
CHAPTER = [
    ("markdown", "# Doubling\n> Twice as much."),
    ("code", "#| default_exp doubling"),
    ("code", "#| export\nimport math"),
    ("code", "import json"),
    ("code", '#| exports\ndef double(x):\n    "Twice `x`."\n    return 2 * x'),
    ("code", "#| exports\ndef one():\n    return 1\n\n\ndef two():\n    return double(one())"),
    ("code", "#| slow\ndouble(3)"),
    ("markdown", "See `double`, $2x$, ![plot](../images/plot.png) and [terms](../LICENSE)."),
    ("code", "def triple(x):\n    # your code here\n    ..."),
    ("markdown", SOLUTION),
]


def write_notebook(path, cells):
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    nbformat.write(nbformat.v4.new_notebook(cells=[make[kind](text) for kind, text in cells]), path)


@pytest.fixture
def project(tmp_path):
    """A project of two pages, with this course's settings and style."""
    root = TOOLS.parent
    for folder in ("nbs", "images", "doubling"):
        (tmp_path / folder).mkdir()
    settings = (root / "settings.ini").read_text().replace("= sentiment_course", "= doubling")
    (tmp_path / "settings.ini").write_text(settings)
    (tmp_path / "LICENSE").touch()
    (tmp_path / "images" / "plot.png").write_bytes(b"PNG")
    for name in ("_quarto.yml", "styles.css"):
        (tmp_path / "nbs" / name).write_text((root / "nbs" / name).read_text())
    write_notebook(tmp_path / "nbs" / "index.ipynb", [("markdown", "# Course\n> All of it.")])
    write_notebook(tmp_path / "nbs" / "02-doubling.ipynb", CHAPTER)
    return tmp_path


def test_a_small_project_builds_strictly(project):
    done = run("build_site.py", project, "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (project / "_docs" / "02-doubling.html").read_text()
    assert '<h1 class="title">2 · Doubling</h1>' in page
    assert "https://colab.research.google.com/github/" in page
    assert page.count("def</span>") == 4  # the source, and not its signature too
    source = page.index("one</span>():")
    assert page.index('id="double"') < page.index('id="one"') < page.index('id="two"') < source
    assert "#| slow" not in page and "katex-mathml" in page
    assert 'src="images/plot.png"' in page and "blob/main/LICENSE" in page
    start = page.index("<details>")
    solution = page[start : page.index("</details>", start)]
    assert 'class="sourceCode python"' in solution and "<strong>Why</strong>" in solution
    assert (project / "_docs" / "images" / "plot.png").is_file()
    assert '<link rel="canonical" href="https://sentiment-course.github.io/' in page
    start = page.index('<details class="code-fold">')
    folded = page[start : page.index("</details>", start)]
    assert ">Imports<" in folded and "math" in folded and "json" in folded
    assert 'href="notebooks/02-doubling.ipynb"' in page
    assert (project / "_docs" / "notebooks" / "02-doubling.ipynb").is_file()
    assert re.search(r'02-doubling.ipynb#scrollTo=\w+">Solve it in Colab', page)
    lost = (project / "_docs" / "404.html").read_text()
    assert "No such page" in lost and '<base href="/doubling/">' in lost
    words = json.loads((project / "_docs" / "search.json").read_text())
    assert any("Twice" in entry["text"] for entry in words)


def test_a_strict_build_with_a_defect_fails_and_keeps_the_old_site(project):
    old = project / "_docs" / "old.html"
    old.parent.mkdir()
    old.touch()
    defects = [("markdown", "[x](gone.md) $\\frac$")]
    write_notebook(project / "nbs" / "02-doubling.ipynb", CHAPTER + defects)
    done = run("build_site.py", project, "--strict")
    assert done.returncode == 1 and old.exists()
    assert "02-doubling.html: link to gone.html: no such page" in done.stdout
    assert "02-doubling.html: formula '\\\\frac'" in done.stdout
    assert done.stderr.strip().splitlines()[-1].startswith("build_site: 2 problems")


def test_a_cell_that_fails_is_named(project):
    broken = CHAPTER + [("code", "#| exports\nimport no_such_module\ndef triple(x): return 3 * x")]
    write_notebook(project / "nbs" / "02-doubling.ipynb", broken)
    done = run("build_site.py", project)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "no_such_module" in done.stderr and "Doubling" in done.stderr
