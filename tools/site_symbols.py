"""The package's names on the pages of the site: their headings, their signatures, their imports."""

import ast
import re
import sys
from functools import cache, partial
from itertools import groupby, takewhile
from pathlib import Path

from build_readme import source_of

# What nbdev's show_doc writes: a rule, a link to the source, the name, the signature, the text.
SYMBOL = re.compile(r"(?:---\s+)?(\[source\]\(.*?\)(?:\{.*?\})?\s+)?#+ (.+)\n")
SIGNATURE = re.compile(r"```python\n.*?\n```\n", re.S)
SOURCE = re.compile(r"/blob/[^/]+/(\S+?\.py)#L")
FOLD = re.compile(r'#\| code-fold: show\n#\| code-summary: "Exported source"\n')
HIDDEN = re.compile(r"^#\s*\|\s*hide\s*$", re.M)
SECTION = re.compile(r"^## ", re.M)
IMPORTS = '#| code-fold: true\n#| code-summary: "Imports"\n'


# ------------------------------------------------------------------ headings and signatures


def symbol_of(cell):
    """The name that a cell of nbdev's documents by `show_doc`, else nothing."""
    match = re.search(r"^show_doc\(([\w.]+)", source_of(cell["source"]), re.M)
    return match[1] if match and cell["cell_type"] == "code" else ""


def defined_by(cell):
    """The names that a cell defines whose source nbdev shows in the page."""
    source = source_of(cell["source"])
    return re.findall(r"^(?:def|class) (\w+)", source, re.M) if FOLD.match(source) else []


def name_symbols(cells, root):
    """Head the source of the package's functions by their names.

    nbdev shows the signature and the docstring, and then the source, which holds both: in a course
    that reads twice. Where the source is shown, only the names stay, in one heading to link to.
    """
    shown = {name for cell in cells for name in defined_by(cell)}
    ordered = []
    for cell in cells:
        names = defined_by(ordered[-1]) if ordered else []
        if symbol_of(cell) in names:
            # A cell that defines several: nbdev puts the last before it, the others after it, from
            # the last to the first. Each goes before those that are there.
            before = takewhile(lambda c, names=names: symbol_of(c) in names, ordered[-2::-1])
            ordered.insert(len(ordered) - 1 - len(list(before)), cell)
        else:
            ordered.append(cell)
    for cell in cells:
        cell["source"] = FOLD.sub("", source_of(cell["source"]))
    made = headed(ordered, shown, root, sections(cells))
    for cell in takewhile(lambda cell: not SECTION.search(source_of(cell["source"])), made):
        if symbol_of(cell):  # on a page that begins with one, it is a heading of the first level
            set_markdown(cell, markdown_of(cell).replace("### ", "## ", 1))
    return made


def sections(cells):
    """The anchors that the headings of a page's prose have."""
    prose = "\n".join(source_of(c["source"]) for c in cells if c["cell_type"] == "markdown")
    prose = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", prose)  # a link in a heading is text there
    titles = re.findall(r"^#+ (.+)$", prose, re.M)
    return {re.sub(r"[^\w]+", "-", title.lower()).strip("-") for title in titles}


def anchor(name, taken):
    """Where links to a function lead: to what has its name on the page already, if anything has."""
    found = f"{name.lower()}-itself" if name.lower() in taken else name.lower()
    taken.add(found)
    return found


def headed(cells, shown, root, taken):
    """The cells, with one heading for all names whose source follows, and signatures for others."""
    together = []
    for bare, group in groupby(cells, key=lambda cell: symbol_of(cell) in shown):
        group = list(group)
        if bare:
            group = [join_headings(group, taken)]
        else:
            for cell in filter(symbol_of, group):
                sign(cell, root, taken)
        together += group
    return together


def join_headings(cells, taken):
    """One cell with one heading that holds the names of all `cells`, each with its anchor."""
    (first, *_), names = cells, [symbol_of(cell) for cell in cells]
    link = SYMBOL.match(markdown_of(first))
    also = "".join(f", [{name}]{{#{anchor(name, taken)}}}" for name in names[1:])
    heading = f"### {names[0]}{also} {{#{anchor(names[0], taken)} .symbol}}\n"
    set_markdown(first, (link[1] or "" if link else "") + heading)
    return first


def sign(cell, root, taken):
    """Put the signature as it stands in the module in the place of the one that nbdev made up."""
    text = markdown_of(cell)
    match = SYMBOL.match(text)
    if not match:
        return
    link, name, rest = match[1] or "", match[2], text[match.end() :]
    if (module := SOURCE.search(link)) and (found := signature(root / module[1], name)):
        rest = SIGNATURE.sub(lambda _: f"```python\n{found}\n```\n", rest, count=1)
    set_markdown(cell, f"{link}### {name} {{#{anchor(name, taken)} .symbol}}\n{rest}")


def markdown_of(cell):
    outputs = [o["data"]["text/markdown"] for o in cell["outputs"] if "data" in o]
    return source_of(outputs[0]) if outputs else ""


def set_markdown(cell, text):
    cell["outputs"] = [
        {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": text}}
    ]


@cache
def parsed(module):
    text = Path(module).read_text(encoding="utf-8")
    return ast.parse(text), text.splitlines()


def signature(module, name):
    """The first lines of a function or class as they stand in `module`, comments and all."""
    tree, lines = parsed(module)
    node = tree
    for part in name.split("."):
        named = {getattr(child, "name", ""): child for child in getattr(node, "body", [])}
        node = named.get(part)
    return None if node is None else "\n".join(head(node, lines))


def head(node, lines):
    """The lines of a definition before its body; of a class, its fields and `__init__` too."""
    end = max(node.lineno, node.body[0].lineno - 1)
    own = lines[node.lineno - 1 : end]
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.AnnAssign):
                own += lines[child.lineno - 1 : child.end_lineno]
            elif getattr(child, "name", "") == "__init__":
                own += head(child, lines)
    return own


# ------------------------------------------------------------------ imports


def fold_imports(cells, notebook, module):
    """Put one folded block with every import of `notebook` before the first section of its page."""
    block = imports_of(notebook, module)
    start = next((i for i, c in enumerate(cells) if starts_section(c)), len(cells))
    intro = [cell for cell in cells[:start] if not only_imports(cell)]
    if block:
        intro.append({"cell_type": "code", "source": IMPORTS + block, "outputs": []})
    return intro + cells[start:]


def starts_section(cell):
    return cell["cell_type"] == "markdown" and source_of(cell["source"]).startswith("## ")


def only_imports(cell):
    """Whether a code cell of a page does nothing but import."""
    source = source_of(cell["source"])
    nodes = statements(source) if cell["cell_type"] == "code" and not symbol_of(cell) else []
    return bool(nodes) and all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in nodes)


def statements(source):
    """The statements of a cell; those of a `with` that has to be quiet count as its own."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic of Jupyter's
        return []
    quiet = [n for n in tree.body if isinstance(n, ast.With) and "quiet" in ast.unparse(n.items[0])]
    return [node for node in tree.body if node not in quiet] + [n for w in quiet for n in w.body]


def imports_of(notebook, module):
    """Every import of the cells of `notebook` as code, and that of its own `module`."""
    plain, names = set(), {}
    for cell in notebook["cells"]:
        source = source_of(cell["source"])
        if cell["cell_type"] != "code" or (HIDDEN.search(source) and "find_spec" in source):
            continue
        for node in statements(source):
            if isinstance(node, ast.Import):
                plain |= {f"import {ast.unparse(alias)}" for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module != "matplotlib_inline":
                names.setdefault(node.module, set()).update(map(ast.unparse, node.names))
    lines = sorted(plain) + [from_line(name, names[name]) for name in sorted(names)]
    if not lines:
        return ""
    lines.append(f"from {module} import *  # what this chapter defines")
    own = partial(rank, own=module.partition(".")[0])
    groups = groupby(sorted(lines, key=own), key=own)
    return "\n\n".join("\n".join(group) for _, group in groups)


def from_line(module, names):
    line = f"from {module} import {', '.join(sorted(names))}"
    if len(line) <= 88:
        return line
    return f"from {module} import (\n" + "".join(f"    {n},\n" for n in sorted(names)) + ")"


def rank(line, own):
    """The standard library comes first, then other packages, then the `own` one."""
    package = re.split(r"[ .]", line)[1]
    return 0 if package in sys.stdlib_module_names else 2 if package == own else 1
