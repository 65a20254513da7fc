"""What the tests of the HTML page share: making one, and reading it back."""

import contextlib
import html.parser
import io
import json
import os
import tempfile
import unittest
import unittest.mock

import synthetic

from analysis.interactive import __main__ as program
from analysis.interactive import bundles

STAND_IN = bundles.Bundles("/* plotly.js */", "export default 0;", "/* DataTables */")
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2>$x^2$ \"'&amp;%{x}`|"


def call(*arguments):
    """(exit status, standard error) of `python3 -m analysis.interactive`."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        status = program.main([str(a) for a in arguments])
    return status, said.getvalue()


class Reader(html.parser.HTMLParser):
    """Elements, tables as lists of cells, text outside of scripts and styles, and the JSON of the charts."""

    VOID = ("meta", "link", "br", "img", "input")

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.text, self.data, self.ids = [], [], "", {}, []
        self.scripts, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag not in self.VOID:
            self.open.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, text):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            self.data[attributes["id"]] = json.loads(text)
        elif tag in ("script", "style"):
            self.scripts.append(text)
        else:
            self.text += text
            if any(name in ("td", "th") for name, _ in self.open):
                self.tables[-1][-1][-1] += text


def hostile(path):
    """A result in which everything that has a name is hostile."""
    trace = dict(
        synthetic.trace(f"trace {HOSTILE}", layers=(0, 3), heads=2, steps=3),
        model=f"model {HOSTILE}",
        task=f"task {HOSTILE}",
    )
    runs = []
    for i, policy in enumerate(["dense", "double_p", "double_p", f"policy {HOSTILE}"]):
        rows = [
            synthetic.row(
                layer,
                head,
                step,
                exact_tokens=10 + i,
                bytes_attend=100 + 10 * i,
                output_error=0 if i == 0 else 0.1 / i + head / 100,
                predicted_error=0 if i in (0, 3) else 0.05 + step / 100,
            )
            for layer in (0, 3)
            for head in (0, 1)
            for step in range(3)
        ]
        runs.append(
            synthetic.run(
                policy,
                rows,
                order=i,
                label=f"label {HOSTILE}",
                note=f"{HOSTILE}{i}",
                variant=f"variant {HOSTILE}" if i == 2 else "",
            )
        )
        runs[-1]["title"] = f"title {HOSTILE}" if i == 3 else ""
    return synthetic.write(path, [trace], runs, name=f"sweep {HOSTILE}", config=f"name: {HOSTILE}\n", cpu=HOSTILE)


def moved(path, target, by=2.0):
    """The same result, written by another program, the errors of its second run multiplied."""
    import h5py  # what changes a file is needed by few

    with open(path, "rb") as source, open(target, "wb") as copy:
        copy.write(source.read())
    with h5py.File(target, "r+") as file:
        file.attrs["program_hash"] = synthetic.digits("another program")
        key = sorted(file["runs"], key=lambda key: file["runs"][key].attrs["order"])[1]
        rows = file["runs"][key]["rows"][()]
        rows["output_error"] *= by
        file["runs"][key]["rows"][...] = rows
    synthetic.sign(target)
    return os.fspath(target)


class Written(unittest.TestCase):
    """Pages with stand-ins for the libraries, in a folder of their own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        patch = unittest.mock.patch.object(bundles, "load", return_value=STAND_IN)
        patch.start()
        self.addCleanup(patch.stop)

    def path(self, name):
        return os.path.join(self.folder, name)

    def page(self, *arguments, name="page.html"):
        self.assertEqual(call(*arguments, "-o", self.path(name)), (0, ""))
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def sweep(self, points=2, policies=("double_p", "quest"), traces=1):
        return synthetic.realistic(self.path("r.h5"), points, traces, (1, 5), 4, 6, policies)
