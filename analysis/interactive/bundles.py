"""The JavaScript libraries that a page carries: plotly.js of `plotly`, DataTables of `itables`."""

from dataclasses import dataclass

from analysis.errors import ResultError

INSTALL = "install it: pip install -r analysis/requirements.txt"


@dataclass(frozen=True)
class Bundles:
    plotly: str  # a script that defines `Plotly`
    tables: str  # a module whose default export is `DataTable`
    tables_style: str  # its CSS


def load():
    """Both, or a `ResultError` that names the package which is missing."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ResultError("plotly", "", "the Python package that holds plotly.js", INSTALL) from None
    try:
        from itables.utils import read_package_file

        tables, style = (read_package_file("html", f"dt_bundle.{kind}") for kind in ("js", "css"))
    except (ImportError, OSError):
        raise ResultError("itables", "", "the Python package that holds DataTables, 2.5 or later", INSTALL) from None
    return Bundles(get_plotlyjs(), tables, style)
