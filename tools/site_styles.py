"""Keep of the site's style sheets what its pages use: Bootstrap alone has ten times as much."""

import re

NAME = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
COMMENT = re.compile(r"/\*.*?\*/", re.S)


def rules(css):
    """The rules of a style sheet, each with what stands before its braces and in them."""
    start = 0
    while (opened := css.find("{", start)) >= 0:
        depth, end = 1, opened + 1
        while depth:
            depth += {"{": 1, "}": -1}.get(css[end], 0)
            end += 1
        yield css[start:opened].strip(), css[opened + 1 : end - 1]
        start = end


def used_only(css, used):
    """The style sheet `css` without the rules for classes that are not in `used`."""
    kept = []
    for before, inside in rules(COMMENT.sub("", css)):
        *statements, before = before.rsplit(";", 1)  # an @charset, say
        kept += [f"{statement};" for statement in statements]
        if before.startswith(("@media", "@supports")):
            inside = used_only(inside, used)
        elif not before.startswith("@"):
            selectors = re.split(r",(?![^(]*\))", before)
            before = ",".join(s for s in selectors if used.issuperset(NAME.findall(s)))
        if before and inside.strip():
            kept.append(f"{before}{{{inside}}}")
    return "".join(kept)


def shrink_styles(site):
    """Leave out of the styles of smalldocs and Bootstrap what no page or script of `site` names."""
    pages = [page.read_text(encoding="utf-8") for page in site.glob("*.html")]
    scripts = [script.read_text(encoding="utf-8") for script in site.glob("site_libs/*.js")]
    used = {
        name for p in pages for names in re.findall(r'class="([^"]*)"', p) for name in names.split()
    }
    used |= {name for script in scripts for name in re.findall(r"[\w-]+", script)}
    for style in [site / "site_libs" / "smalldocs.css", *site.glob("site_libs/themes/*.css")]:
        style.write_text(used_only(style.read_text(encoding="utf-8"), used), encoding="utf-8")
