"""Builds the documentation site from the repository's own pages; nothing on it comes from elsewhere.

  python3 -m analysis.site --out site && python3 -m http.server -d site
  python3 -m analysis.site --gather-only --out pages      the pages alone, as Markdown

Needs MkDocs: `pip install -r analysis/site/requirements.txt`.
"""

import argparse
import html
import json
import os
import subprocess
import sys
import tempfile

from analysis.errors import ResultError
from analysis.site import gather, pages

INSTALL = "install it: pip install -r analysis/site/requirements.txt"


def formula(text, block):
    """LaTeX as MathML, which browsers draw by themselves."""
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise ResultError("latex2mathml", "", "the Python package that writes formulas", INSTALL) from None
    drawn = convert(text, display="block" if block else "inline")
    for letter in "*_`":  # so that nobody reads Markdown in it
        drawn = drawn.replace(letter, f"&#{ord(letter)};")
    element = "div" if block else "span"
    return f'<{element} class="formula">{drawn}</{element}>'


def build(out):
    """`mkdocs build --strict` of the gathered pages, into `out`."""
    with tempfile.TemporaryDirectory() as folder:
        docs = os.path.join(folder, "docs")
        gather.Gatherer(docs, formula).all()
        with open(os.path.join(os.path.dirname(__file__), "extra.css"), encoding="utf-8") as file:
            gather.Gatherer(docs)._write("extra.css", file.read())
        navigation = [{heading: [{title: page} for title, page in entries]} for heading, entries in pages.NAVIGATION]
        config = {
            "INHERIT": os.path.join(os.path.dirname(os.path.abspath(__file__)), "mkdocs.yml"),
            "docs_dir": docs,
            "site_dir": os.path.abspath(out),
            "nav": navigation,
        }
        with open(os.path.join(folder, "mkdocs.yml"), "w", encoding="utf-8") as file:
            json.dump(config, file)  # which is YAML, too
        done = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", file.name],
            capture_output=True,
            text=True,
        )
    if "No module named mkdocs" in done.stderr:
        raise ResultError("mkdocs", "", "the Python package mkdocs-material", INSTALL)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ResultError(
            out, "", "a site that `mkdocs build --strict` makes without a warning", " | ".join(said[-12:])
        )


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python3 -m analysis.site", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--gather-only", action="store_true", help="write the pages as Markdown, without MkDocs")
    args = parser.parse_args(argv)
    try:
        if args.gather_only:
            gather.Gatherer(args.out, lambda text, block: f"<code>{html.escape(text)}</code>").all()
        else:
            build(args.out)
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}{'' if args.gather_only else '/index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
