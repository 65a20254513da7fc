#!/usr/bin/env python3
"""From result files of `doublep run` to figures, tables and one report.md.

  python3 analysis/report.py RESULT.h5 --out DIR            everything
  python3 analysis/report.py A.h5 B.h5 --out DIR            several sweeps, joined
  python3 analysis/report.py RESULT.h5 --out DIR --only table --format md
  python3 analysis/report.py RESULT.h5 --out DIR --policy dense --policy double_p --trace code-8k
"""

import argparse
import os
import re
import sys

if __package__ in (None, ""):  # run as a file: the package is the folder above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

try:
    from analysis import cost_figure, document, heat_figure, ranking, style, table, token_figure
except ImportError as missing:
    sys.exit(f"error: {missing}: install python3-matplotlib, python3-h5py and python3-numpy")
from analysis import audit, representative
from analysis.aggregate import summarise
from analysis.axes import ACCURACIES
from analysis.errors import ResultError
from analysis.naming import Names
from analysis.reader import read
from analysis.results import join, only

PARTS = {
    "cost": "accuracy against cost, with the Pareto front of each policy (cost_*.png)",
    "ranking": "bytes each policy needs at equal error (ranking.md)",
    "heat": "recall, violation and error per layer and head (heat_*.png), worst heads (failures.md)",
    "tokens": "distribution of exact tokens, overall and per head (tokens_*.png)",
    "table": "every run with its figures (table.md, table.csv)",
    "report": "report.md, which holds all that was asked for",
}
FORMATS = ("md", "csv", "png", "svg")


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="parts:\n" + "".join(f"  {name:8} {text}\n" for name, text in PARTS.items())
        + "\nErrors print one line and end with status 2. Equal results give equal files: no clock "
          "is read.")
    parser.add_argument("results", nargs="+", metavar="RESULT.h5", help="files of `doublep run`")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to (made if absent)")
    parser.add_argument("--only", metavar="PART[,PART]", default="", help="some of the parts below")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS),
                        help="kinds of file to write (default: all)")
    parser.add_argument("--policy", action="append", default=[], metavar="NAME",
                        help="take this policy; may be repeated (default: all)")
    parser.add_argument("--trace", action="append", default=[], metavar="NAME",
                        help="take this trace; may be repeated (default: all)")
    parser.add_argument("--target", type=_share, default=0.95, metavar="P",
                        help="mass for the violation rate that compares runs (default: 0.95)")
    parser.add_argument("--levels", type=_levels, default=ranking.LEVELS, metavar="PERCENT[,...]",
                        help="output errors to rank at, in percent (default: 1,2,5)")
    parser.add_argument("--look-at", type=float, default=100 * representative.LEVEL, metavar="PERCENT",
                        help="output error of the runs that heat maps and distributions show (default: 5)")
    parser.add_argument("--dpi", type=int, default=200, help="of the PNGs (default: 200)")
    args = parser.parse_args(argv)
    args.only = [word for word in args.only.split(",") if word] or list(PARTS)
    for word in args.only:
        if word not in PARTS:
            parser.error(f"--only: expected some of {', '.join(PARTS)}, found '{word}'")
    if not 50 <= args.dpi <= 1200:
        parser.error(f"--dpi: expected 50 to 1200, found {args.dpi}")
    return args


def _share(text):
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a mass in (0, 1], found {text}")
    return value


def _levels(text):
    values = tuple(float(word) / 100 for word in text.split(","))
    if not all(value > 0 for value in values):
        raise argparse.ArgumentTypeError(f"expected percentages above 0, found {text}")
    return values


class Writer:
    """Files of one report: only the formats asked for, and errors that name the path."""

    def __init__(self, folder, formats, dpi):
        self.folder, self.formats, self.dpi = folder, formats, dpi
        self.images = [kind for kind in ("png", "svg") if kind in formats]
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise ResultError(folder, "", f"a folder that can be made ({error.strerror})",
                              "choose another --out") from None

    def text(self, name, content):
        if name.rsplit(".", 1)[1] not in self.formats:
            return
        path = os.path.join(self.folder, name)
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
        except OSError as error:
            raise ResultError(path, "", f"a file that can be written ({error.strerror})",
                              "choose another --out or make room") from None

    def figures(self, drawn, name):
        """Saves one figure, or pages of it; returns a list of paths per page."""
        drawn = drawn if isinstance(drawn, list) else [drawn]
        names = [name] if len(drawn) == 1 else [f"{name}_{i + 1}" for i in range(len(drawn))]
        return [style.save(figure, self.folder, page, self.images, self.dpi)
                for figure, page in zip(drawn, names)]


def build(results, args):
    """Writes everything asked for; returns the text of report.md."""
    writer = Writer(args.out, args.format, args.dpi)
    names = Names(results.runs)
    summaries = [summarise(run, args.target) for run in results.runs]
    chosen = {t.name: representative.choose([s for s in summaries if s.run.trace is t], names,
                                            args.look_at / 100) for t in results.traces}
    looked = {name: [s for s in group if s.run.policy != "dense"] for name, group in chosen.items()}
    doc = document.Document(", ".join(dict.fromkeys(s.name for s in results.sweeps)), args.target)
    doc.section("Origin", document.provenance(results), document.notes(results, summaries, names))
    draws = bool(writer.images)
    doc.section("Accuracy against cost")
    if "cost" in args.only and draws:
        pages = writer.figures(cost_figure.draw(summaries, names, costs=("bytes",), target=args.target),
                               "cost_headline")
        doc.figure(pages[0], "headline")
    if "ranking" in args.only:
        text = ranking.ranking_markdown(summaries, names, args.levels)
        writer.text("ranking.md", "# Bytes at equal error\n\n" + document.HOW_RANKED + "\n" + text)
        doc.section("Bytes at equal error", document.HOW_RANKED, text)
    if "cost" in args.only and draws:
        doc.section("All accuracies and costs")
        for key in ACCURACIES:
            drawn = cost_figure.draw(summaries, names, (key,), target=args.target)
            doc.figure(writer.figures(drawn, f"cost_{key}")[0], key)
    if "heat" in args.only:
        text = ranking.failures_markdown([s for g in looked.values() for s in g], names, args.target)
        how = document.HOW_FAILED.format(level=args.look_at)
        writer.text("failures.md", "# Where each policy fails\n\n" + how + "\n" + text)
        doc.section("Where each policy fails", how, text)
        for trace, group in looked.items():
            pages = heat_figure.draw(group, names, args.target) if draws and group else []
            for paths in writer.figures(pages, f"heat_{_slug(trace)}"):
                doc.figure(paths, "heat", trace)
    if "tokens" in args.only and draws and any(looked.values()):
        doc.section("Exact tokens")
        everyone = [s for group in looked.values() for s in group]
        doc.figure(writer.figures(token_figure.draw_ecdf(everyone, names), "tokens_ecdf")[0], "ecdf")
        for trace, group in looked.items():
            pages = token_figure.draw_boxes(group, names) if group else []
            for paths in writer.figures(pages, f"tokens_{_slug(trace)}"):
                doc.figure(paths, "boxes", trace)
    audited = audit.markdown(summaries, names)
    if audited:
        doc.section("Audited mass", audited)
    if "table" in args.only:
        text = table.markdown(summaries, names, args.target)
        writer.text("table.md", "# All runs\n\n" + document.HOW_TABLED + "\n" + text)
        writer.text("table.csv", table.to_csv(summaries, names))
        doc.section("All runs", document.HOW_TABLED, text)
    if "report" in args.only:
        writer.text("report.md", doc.text())
    return doc.text()


def _slug(name):
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "trace"


def main(argv=None):
    args = arguments(argv)
    try:
        results = only(join([read(path) for path in args.results]), args.policy, args.trace)
        if not results.runs:
            raise ResultError(", ".join(args.results), "", "runs of the policies and traces named",
                              "check --policy and --trace against `table.md`")
        build(results, args)
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(results.runs)} runs on {len(results.traces)} "
          f"trace{'s' if len(results.traces) > 1 else ''} -> {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
