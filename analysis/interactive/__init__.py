"""One self-contained HTML file from result files: `python3 -m analysis.interactive --help`."""
