"""Make the pages of the site of the notebooks: nbdev processes them, then they are adapted."""

import hashlib
import json
import os
import re
import shutil
import time
from functools import partial
from itertools import takewhile

import nbdev.serve
import yaml
from build_readme import map_links, source_of
from check_site import SiteError
from nbdev.processors import FilterDefaults, exec_show_docs

# What nbdev's show_doc writes: a rule, a link to the source, the name, the signature, the text.
SYMBOL = re.compile(r"(?:---\s+)?(\[source\]\(.*?\)(?:\{.*?\})?\s+)?(#+ .+)\n")
BLANKS = re.compile(r"\n{2,}(?=def|class|\n*```)")
FOLD = re.compile(r'#\| code-fold: show\n#\| code-summary: "Exported source"\n')

# nbdev links a name to the page of the published site that documents it.
OWN_PAGE = r"\]\(https?://[^)\s]+/((?:{})\.html)"


def fingerprint(root):
    """What pages depend on beside their own notebook: the names to link, and which pages exist."""
    names = sorted(path.name for path in (root / "nbs").glob("*.ipynb"))
    index = [path.read_bytes() for path in sorted(root.glob("*/_modidx.py"))]
    return hashlib.sha256("\n".join(names).encode() + b"".join(index)).hexdigest()


class RunExports(exec_show_docs):
    """Run the cells that document the package, not those that import what a chapter compares with.

    nbdev runs every cell that imports anything, and so loads TensorFlow for chapters whose pages
    need none of it.
    """

    def __call__(self, cell):
        exported = any(name.startswith("export") for name in cell.directives_)
        if exported or "show_doc(" in (cell.source or ""):
            super().__call__(cell)


class PageFilters(FilterDefaults):
    """nbdev's own processors, with `RunExports` in its place."""

    def base_procs(self):
        return [RunExports if p is exec_show_docs else p for p in super().base_procs()]


def process_notebooks(root):
    """Have nbdev make pages in _proc of the notebooks that changed; return how many it made."""
    nbdev.serve.FilterDefaults = PageFilters
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["MPLBACKEND"] = "Agg"
    proc, started = root / "_proc", time.time()
    stamp, wanted = proc / ".fingerprint", fingerprint(root)
    stale = not stamp.exists() or stamp.read_text() != wanted
    try:
        nbdev.serve.proc_nbs(force=stale)
    except Exception as error:  # whatever a cell of a notebook raises
        # The first error of the other process's traceback is the one that the cell raised.
        cause = re.search(r"^[\w.]+(?:Error|Exception): .*", str(error.__cause__), re.M)
        reason = f"{cause[0]}\n" if cause else ""
        raise SiteError(f"nbdev cannot make the pages: {reason}{error}") from error
    stamp.write_text(wanted)
    os.utime(proc, (started, started))  # a notebook saved while we worked is newer than that
    return sum(page.stat().st_mtime >= started for page in proc.glob("*.ipynb"))


def stage_pages(root, settings):
    """Copy nbdev's pages to a folder of their own, adapted to this site; return that folder."""
    proc = root / "_proc"
    stage = proc / ".stage"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(proc, stage, ignore=shutil.ignore_patterns(".*", "_docs"))
    for page in stage.glob("*.ipynb"):
        notebook = json.loads(page.read_text(encoding="utf-8"))
        adapt(notebook["cells"], page, root, settings)
        page.write_text(json.dumps(notebook), encoding="utf-8")
    return stage


def adapt(cells, page, root, settings):
    """Number a chapter, link it to Colab and its source, describe plots, follow links out."""
    cells[:] = name_symbols(cells)
    keep_links_here(cells, [other.stem for other in page.parent.glob("*-*.ipynb")])
    out = partial(link_out, stage=page.parent, root=root, settings=settings)
    for cell in cells:
        source = source_of(cell["source"])
        if cell["cell_type"] == "markdown":
            source = map_links(source, out)
        elif cell["cell_type"] == "code":
            source = with_alt_text(source, cell["outputs"])
        cell["source"] = source
        for data in markdown_outputs(cell):
            data["text/markdown"] = map_links(data["text/markdown"], out)
    if cells and cells[0]["cell_type"] == "raw":
        cells[0]["source"] = front_matter(cells[0]["source"], page.name)
        if chapter_number(page.name):
            cells.insert(1, {"cell_type": "markdown", "source": actions(page.name, settings)})


def keep_links_here(cells, pages):
    """Point nbdev's links to the published `pages` at the pages beside this one."""
    own = re.compile(OWN_PAGE.format("|".join(pages)))
    for cell in cells:
        if cell["cell_type"] == "markdown":
            cell["source"] = own.sub(r"](\1", source_of(cell["source"]))
        for data in markdown_outputs(cell):
            data["text/markdown"] = own.sub(r"](\1", data["text/markdown"])


def markdown_outputs(cell):
    """The data of each output of a cell that is Markdown, with its text as one string."""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "text/markdown" in data:
            data["text/markdown"] = source_of(data["text/markdown"])
            yield data


def chapter_number(name):
    """`2` for 02-losses.ipynb, `A1` for a1-assets.ipynb, else nothing."""
    match = re.match(r"0?(a?\d+)-", name)
    return match[1].upper() if match else ""


def front_matter(source, name):
    """The page's front matter with the chapter's number in the title, so that it is everywhere."""
    fields = yaml.safe_load(source.strip().removeprefix("---").removesuffix("---"))
    fields.pop("output-file", None)  # nbdev's word to Quarto; here it is the name anyway
    if number := chapter_number(name):
        fields["title"] = f"{number} · {fields['title']}"
    return f"---\n{yaml.safe_dump(fields, allow_unicode=True)}---\n"


def actions(name, settings):
    """The line under a chapter's title: open it in Colab, see its source."""
    path = f"nbs/{name}"
    return (
        "```{=html}\n"
        f'<p class="page-actions"><a href="{settings.colab(path)}">Open in Colab</a>'
        f'<a href="{settings.source(path)}">View the notebook’s source</a></p>\n'
        "```"
    )


def symbol_of(cell):
    """The name that a cell of nbdev's documents by `show_doc`, else nothing."""
    match = re.search(r"^show_doc\(([\w.]+)", source_of(cell["source"]), re.M)
    return match[1] if match and cell["cell_type"] == "code" else ""


def defined_by(cell):
    """The names that a cell defines whose source nbdev shows in the page."""
    source = source_of(cell["source"])
    return re.findall(r"^(?:def|class) (\w+)", source, re.M) if FOLD.match(source) else []


def name_symbols(cells):
    """Head the source of the package's functions by their names.

    nbdev shows the signature and the docstring, and then the source, which holds both: in a course
    that reads twice. Where the source is shown, only the name stays, as a heading to link to.
    """
    shown = {name for cell in cells for name in defined_by(cell)}
    ordered = []
    for cell in cells:
        name = symbol_of(cell)
        if name:
            tidy_symbol(cell, name in shown)
        names = defined_by(ordered[-1]) if ordered else []
        if name in names:
            # A cell that defines several: nbdev puts the last before it, the others after it, from
            # the last to the first. Each goes before those that are there.
            before = takewhile(lambda c, names=names: symbol_of(c) in names, ordered[-2::-1])
            ordered.insert(len(ordered) - 1 - len(list(before)), cell)
        else:
            ordered.append(cell)
    for cell in cells:
        cell["source"] = FOLD.sub("", source_of(cell["source"]))
    return ordered


def tidy_symbol(cell, name_only):
    """Mark the heading that nbdev wrote for a symbol, and drop what is not wanted after it."""
    for output in cell["outputs"]:
        text = source_of(output["data"].get("text/markdown", ""))
        if match := SYMBOL.match(text):
            link, heading = match[1] or "", match[2]
            rest = "" if name_only else BLANKS.sub("\n", text[match.end() :])
            output["data"]["text/markdown"] = f"{link}{heading} {{.symbol}}\n{rest}"


def link_out(target, is_image, stage, root, settings):
    """A link of a notebook; one that leaves nbs/ becomes a copied image or a repository link."""
    if not target.startswith("../"):
        return target
    path = target.removeprefix("../")
    if not is_image:
        return settings.source(path)
    if (root / path).is_file():
        (stage / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, stage / path)
    return path


def with_alt_text(source, outputs):
    """A code cell that draws, with alternative text for its plots: their titles in the code."""
    draws = any("image/png" in output.get("data", {}) for output in outputs)
    if not draws or re.search(r"^#\s*\|\s*fig-alt:", source, re.M):
        return source
    titles = re.findall(r"(?<!legend\()title\s*[=(]\s*f?[\"']([^\"'{}]+)[\"']", source)
    text = "Plot: " + "; ".join(titles) if titles else "Plot drawn by this cell’s code"
    return f"#| fig-alt: {json.dumps(text, ensure_ascii=False)}\n{source}"
