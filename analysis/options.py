"""The arguments of report.py, and those that it shares with analysis/interactive."""

import argparse

from analysis import ranking, representative

DESCRIPTION = """\
From result files of `doublep run` to figures, tables and one report.md.

  python3 analysis/report.py RESULT.h5 --out DIR            everything
  python3 analysis/report.py A.h5 B.h5 --out DIR            several sweeps, joined
  python3 analysis/report.py RESULT.h5 --out DIR --only table --format md
  python3 analysis/report.py RESULT.h5 --out DIR --policy dense --policy double_p --trace code-8k
"""
PARTS = {
    "cost": "accuracy against cost, with the Pareto front of each policy (cost_*.png)",
    "ranking": "bytes each policy needs at equal error (ranking.md)",
    "heat": "recall, violation and error per layer and head (heat_*.png, failures.md)",
    "tokens": "distribution of exact tokens, overall and per head (tokens_*.png)",
    "calibration": "predicted against true error per layer and head (calibration_*.png)",
    "effects": "what each varied parameter does with all others equal (effects.md)",
    "table": "every run with its figures (table.md, table.csv), audited mass (audit.md)",
    "report": "report.md, which holds all that was asked for",
}
FORMATS = ("md", "csv", "png", "svg")


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="report.py", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="parts:\n" + "".join(f"  {name:11} {text}\n" for name, text in PARTS.items())
        + "\nErrors print one line and end with status 2. Equal results give equal files: no clock "
          "is read.")
    add_selection(parser)
    parser.add_argument("--out", required=True, metavar="DIR",
                        help="folder to write to (made if absent)")
    parser.add_argument("--only", metavar="PART[,PART]", default="", help="some of the parts below")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS),
                        help="kinds of file to write (default: all)")
    parser.add_argument("--dpi", type=int, default=200, help="of the PNGs (default: 200)")
    args = parser.parse_args(argv)
    args.only = [word for word in args.only.split(",") if word] or list(PARTS)
    for word in args.only:
        if word not in PARTS:
            parser.error(f"--only: expected some of {', '.join(PARTS)}, found '{word}'")
    if not 50 <= args.dpi <= 1200:
        parser.error(f"--dpi: expected 50 to 1200, found {args.dpi}")
    return args


def add_selection(parser):
    """Which runs to show, and against what they are measured."""
    parser.add_argument("results", nargs="+", metavar="RESULT.h5", help="files of `doublep run`")
    parser.add_argument("--policy", action="append", default=[], metavar="NAME",
                        help="take this policy; may be repeated (default: all)")
    parser.add_argument("--trace", action="append", default=[], metavar="NAME",
                        help="take this trace; may be repeated (default: all)")
    parser.add_argument("--target", type=_share, default=0.95, metavar="P",
                        help="mass for the violation rate that compares runs (default: 0.95)")
    parser.add_argument("--levels", type=_levels, default=ranking.LEVELS, metavar="PERCENT[,...]",
                        help="output errors to rank at, in percent (default: 10,5,2,1)")
    parser.add_argument("--look-at", type=float, default=100 * representative.LEVEL,
                        metavar="PERCENT", help="what is looked into head by head is the cheapest run "
                        "of each curve with at most this output error (default: 5)")


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
