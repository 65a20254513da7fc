"""From result files of `doublep run` to one HTML file that opens from disk, without a network.

  python3 -m analysis.interactive RESULT.h5 -o report.html
  python3 -m analysis.interactive A.h5 B.h5 -o report.html                several sweeps, joined
  python3 -m analysis.interactive NEW.h5 --against OLD.h5 -o report.html  and two results compared

Charts are plotly's and tables DataTables' (of itables); both libraries are embedded in the file:
`pip install -r analysis/requirements.txt`.
"""

import argparse
import sys

from analysis.errors import ResultError
from analysis.interactive import bundles, contents
from analysis.options import add_selection
from analysis.reader import load
from analysis.writer import refuse_input, write_text


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python3 -m analysis.interactive",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Errors print one line and end with status 2. Equal results give equal files: no clock is read.",
    )
    add_selection(parser)
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="RESULT.h5",
        help="compare with the runs of this file; may be repeated (joined)",
    )
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="the HTML file to write")
    args = parser.parse_args(argv)
    try:
        refuse_input(args.out, args.results + args.against)
        libraries = bundles.load()
        results = load(args.results, args.policy, args.trace)
        against = load(args.against, args.policy, args.trace) if args.against else None
        page = contents.build(results, against, args)
        write_text(args.out, page.html(libraries), "-o")
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{len(results.runs)} run{'s' * (len(results.runs) != 1)} on {len(results.traces)} "
        f"trace{'s' * (len(results.traces) != 1)} -> {args.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
