"""The documentation site, from the repository's own pages: `python3 -m analysis.site --help`."""
