"""What the tools that write cells into every notebook share."""

from pathlib import Path

import nbformat

NBS = Path(__file__).resolve().parent.parent / "nbs"


def rewrite(change, check, says):
    """Have `change` mend each notebook; whether, with `check`, one would have been changed.

    `change` takes a notebook and answers it as it should be; `says` is what to print of the names
    of those that were not so. With `check`, nothing is written.
    """
    stale = []
    for path in sorted(NBS.glob("*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        before = nbformat.writes(nb)
        if nbformat.writes(change(nb)) != before:
            stale.append(path.name)
            if not check:
                nbformat.write(nb, path)
    if stale:
        print(f"{says if check else 'written'}: {', '.join(stale)}")
    return bool(check and stale)
