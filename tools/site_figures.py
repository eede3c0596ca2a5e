"""The plots of the notebooks on the site: drawn in the page's colours, and described."""

import html
import json
import re

from build_readme import source_of
from check_site import Problem

# The colours of sentiment_course/course.mplstyle that the page replaces, so that they turn over in
# the dark; a plot with shades of its own, or with text on filled boxes, stays on its light ground.
INK, PAPER, LINE = "#23272e", "#fdfcf9", "#e2ded5"
COLOURS = {
    INK: "var(--plot-ink)", "#000000": "var(--plot-ink)", PAPER: "var(--plot-paper)",
    LINE: "var(--course-line)",
}  # fmt: skip
BOX = r'<g id="text_\d+">\s*<g id="patch_\d+">\s*<path [^>]*style="fill: #(?!fdfcf9)'
SHADED = re.compile(rf"<image |QuadMesh|ContourSet|{BOX}")
PREAMBLE = re.compile(r"^.*?(?=<svg )|<metadata>.*?</metadata>\s*", re.S)
OPTION = r"^#\s*\|\s*{}:\s*(.+)\n?"


def option(source, name):
    """The value of a cell's option `name`, such as fig-alt, else nothing."""
    match = re.search(OPTION.format(name), source, re.M)
    if not match:
        return ""
    value = match[1].strip()
    return json.loads(value) if value.startswith('"') else value.strip("'")


def is_plot(output):
    return bool({"image/svg+xml", "image/png"} & set(output.get("data", {})))


def describe_plots(cells):
    """Draw the plots of a page in its colours, with their captions and what they say in words."""
    plots = 0
    for cell in cells:
        if cell["cell_type"] != "code" or not any(map(is_plot, cell["outputs"])):
            continue
        source = source_of(cell["source"])
        alt, caption = option(source, "fig-alt") or titles(source), option(source, "fig-cap")
        for output in filter(is_plot, cell["outputs"]):
            output["data"] = {"text/html": figure(output["data"], alt, caption, plots)}
            plots += 1
        cell["source"] = re.sub(OPTION.format("fig-(?:alt|cap)"), "", source, flags=re.M)


def titles(source):
    """What the code of a plot says of it: its titles."""
    found = re.findall(r"(?<!legend\()title\s*[=(]\s*f?\"([^\"{}]+)\"", source)
    return "Plot: " + "; ".join(found) if found else "Plot drawn by this cell’s code"


def undescribed(notebook, name):
    """A problem for each plot of a notebook whose cell lacks fig-alt or fig-cap."""
    for cell in notebook["cells"]:
        source = source_of(cell["source"])
        draws = cell["cell_type"] == "code" and any(map(is_plot, cell["outputs"]))
        for said in ("fig-alt", "fig-cap"):
            if draws and not option(source, said):
                yield Problem(name, f"cell {cell.get('id')} draws, and has no {said}")


def figure(data, alt, caption, number):
    """The HTML of one plot."""
    alt, caption = html.escape(alt, quote=True), html.escape(caption)
    if "image/svg+xml" in data:
        svg = source_of(data["image/svg+xml"])
        shade = " shaded" if SHADED.search(svg) else ""
        drawn = inline(svg, number).replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)
    else:
        shade, png = " shaded", source_of(data["image/png"]).strip()
        drawn = f'<img src="data:image/png;base64,{png}" alt="{alt}">'
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="plot{shade}">{drawn}{below}</figure>'


def inline(svg, number):
    """An SVG of Matplotlib's as part of a page, where ids must differ from those of other plots."""
    svg = re.sub(r' id="(?:figure|axes|patch|line2d|text|[xy]tick|legend|matplotlib)[^"]*"', "",
                 PREAMBLE.sub("", svg))  # fmt: skip
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>plot{number}-", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r"\*\{stroke-linejoin", ".plot *{stroke-linejoin", svg)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, variable)
    # Two places are enough for where a line goes, and not for what is written beside it.
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    svg = re.sub(r"\n\s*", " ", svg)
    size = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'width="{float(size[1]):.0f}pt"', svg)
