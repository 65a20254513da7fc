"""The raw rows of a result file as Parquet: the columns of `doublep export`, in the types of the file.

  python3 -m analysis.parquet RESULT.h5 -o rows.parquet
  python3 -m analysis.parquet A.h5 B.h5 -o rows.parquet --policy double_p

One row group a run; provenance and configurations stand in the schema's metadata. Needs pyarrow:
`pip install -r analysis/requirements.txt`.
"""

import argparse
import json
import sys

import numpy as np

from analysis.errors import ResultError
from analysis.reader import load
from analysis.writer import aside, refuse_input

WORDS = {  # what a run's rows share
    "trace": lambda run: run.trace.file_name,
    "trace_hash": lambda run: run.trace.hash,
    "run": lambda run: run.key,
    "policy": lambda run: run.policy,
    "backend": lambda run: run.backend,
    "label": lambda run: run.label,
    "parameters": lambda run: run.parameters_text,
    "kv_dtype": lambda run: run.kv_dtype,
}
NUMBERS = {
    "seed": lambda run: np.int64(run.seed),
    "target_p": lambda run: np.float64(run.target_p),
    "target_error": lambda run: np.float64(run.target_error),
}


def table(run, arrow):
    """All rows of one run."""
    count, columns = len(run.rows), {}
    for name, of in WORDS.items():
        columns[name] = arrow.DictionaryArray.from_arrays(np.zeros(count, np.int32), [of(run)])
    for name, of in NUMBERS.items():
        columns[name] = arrow.array(np.full(count, of(run)))
    for name in run.rows.dtype.names:
        columns[name] = arrow.array(np.ascontiguousarray(run.rows[name]))
    return arrow.table(columns)


def write(results, path, arrow, parquet):
    tables = [table(run, arrow) for run in results.runs]
    origin = [
        {
            name: getattr(sweep, name)
            for name in (
                "name",
                "config",
                "config_hash",
                "created",
                "commit",
                "program_hash",
                "compiler",
                "cpu",
                "threads",
                "seed",
            )
        }
        for sweep in results.sweeps
    ]
    schema = tables[0].schema.with_metadata({"doublep-result": json.dumps(origin)})
    with aside(path, "-o") as part, parquet.ParquetWriter(part, schema) as file:
        for run, rows in zip(results.runs, tables):
            if rows.schema.names != schema.names:
                raise ResultError(
                    results.sweeps[0].path,
                    f"/runs/{run.key}/rows",
                    "the fields of the other runs",
                    "give files of one version of the program",
                )
            file.write_table(rows.cast(schema))


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python3 -m analysis.parquet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", metavar="RESULT.h5", help="files of `doublep run`")
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="the Parquet file to write")
    parser.add_argument(
        "--policy", action="append", default=[], metavar="NAME", help="take this policy; may be repeated"
    )
    parser.add_argument(
        "--trace", action="append", default=[], metavar="NAME", help="take this trace; may be repeated"
    )
    args = parser.parse_args(argv)
    try:
        refuse_input(args.out, args.results)
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise ResultError(
                "pyarrow",
                "",
                "the Python package that writes Parquet",
                "install it: pip install -r analysis/requirements.txt",
            ) from None
        results = load(args.results, args.policy, args.trace)
        write(results, args.out, pyarrow, pyarrow.parquet)
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = sum(len(run.rows) for run in results.runs)
    print(f"{rows} rows of {len(results.runs)} run{'s' * (len(results.runs) != 1)} -> {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
