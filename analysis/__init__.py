"""From result files (experiments/RESULT_FORMAT.md) to tables, figures and a report.

Knows of result files only: numpy, h5py and matplotlib, nothing of the C++ program. `interactive` and `parquet` want the
packages of requirements.txt besides.
`python3 analysis/report.py --help` says how to run it; every module can also be imported alone.
"""
