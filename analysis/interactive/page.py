"""The HTML file itself: text escaped in one place, tables, charts as JSON, the libraries embedded."""

import base64
import html
import json
import math
import os
import re

HERE = os.path.dirname(__file__)
# The browser itself keeps the page from reaching for anything outside of this file.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:"
)
NUMBER = re.compile(r"^[≤≥]? ?(-?\d+(?:\.\d+)?)(?: of \d+)?$")


class Markup(str):
    """Text that is HTML already."""


def escape(value):
    return value if isinstance(value, Markup) else html.escape(str(value), quote=True)


def tag(name, *children, **attributes):
    """An element; an attribute's `_` stands for a hyphen, `class_` for class."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{words}>" + "".join(map(escape, children)) + f"</{name}>")


def order_of(text):
    """What a number's cell is sorted by: what is not reached comes after all, no number last; None: words."""
    found = NUMBER.match(text)
    if found:
        return found.group(1)
    return "1e301" if text == "–" else "1e300" if text.startswith("never (") else None


def table(t, links=()):
    """A `Table` as HTML, which the script makes sortable; `links`: a run for the first cell of each line."""
    lines = [list(map(str, line)) for line in t.lines]
    numeric = [all(order_of(line[i]) for line in lines) for i in range(len(t.header))]
    right = [{"class_": "number"} if numeric[i] and i >= t.left else {} for i in range(len(t.header))]

    def cell(text, column, run):
        if numeric[column]:
            return tag("td", text, **right[column], data_order=order_of(text))
        shown = tag("a", text, href="#run", data_run=run) if run and column == 0 else text
        return tag("td", shown, **({"class_": "long"} if len(text) > 34 else {}))

    head = tag("tr", *(tag("th", name, **right[i]) for i, name in enumerate(t.header)))
    body = [
        tag("tr", *(cell(text, i, run) for i, text in enumerate(line)))
        for line, run in zip(lines, links or [""] * len(lines))
    ]
    return _titled(t, tag("table", tag("thead", head), tag("tbody", *body), class_="data compact stripe"))


def facts(t):
    """A `Table` of few lines on its side: a row per heading, so that a narrow page holds it."""
    rows = [
        tag("tr", tag("th", name), *(tag("td", str(line[i])) for line in t.lines)) for i, name in enumerate(t.header)
    ]
    return _titled(t, tag("table", tag("tbody", *rows), class_="facts"))


def _titled(t, content):
    parts = [tag("h3", t.heading)] if t.heading else []
    return Markup("".join([*parts, tag("div", content, class_="table")] + ([tag("p", t.note)] if t.note else [])))


def data(name, value):
    """JSON for the script, in an element that no name inside can end."""

    def finite(item):
        if isinstance(item, dict):
            return {key: finite(part) for key, part in item.items()}
        if isinstance(item, (list, tuple)):
            return [finite(part) for part in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    text = json.dumps(finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(f'<script type="application/json" id="{name}">{text}</script>')


class Page:
    def __init__(self, title):
        self._title, self._sections, self._data = " ".join(title.split()), [], {}

    def section(self, name, heading, *parts):
        """`name` is what links lead to; parts are text or HTML."""
        self._sections.append((name, heading, parts))

    def chart(self, name, spec):
        """A place that the script draws `spec` in: {"data", "wide", "narrow"}."""
        self.data(name, spec)
        return tag("div", class_="chart", data_chart=name)

    def data(self, name, value):
        self._data[name] = value

    def html(self, libraries):
        links = [tag("a", heading, href=f"#{name}") for name, heading, _ in self._sections]
        sections = [
            tag("section", tag("h2", heading), *(p if isinstance(p, Markup) else tag("p", p) for p in parts), id=name)
            for name, heading, parts in self._sections
        ]
        module = "data:text/javascript;base64," + base64.b64encode(libraries.tables.encode()).decode()
        script = _file("page.js").replace("TABLES_MODULE", module)
        return "".join(
            [
                '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                tag("title", self._title),
                _style(libraries.tables_style),
                _style(_file("page.css")),
                "</head><body>\n",
                tag("header", tag("h1", self._title), tag("nav", *links)),
                tag("noscript", tag("p", "Without JavaScript there are tables, but no charts.")),
                tag("main", *sections),
                "\n",
                *(data(name, value) + "\n" for name, value in self._data.items()),
                f"<script>{_inert(libraries.plotly)}</script>\n",
                f'<script type="module">{script}</script>\n</body></html>\n',
            ]
        )


def _file(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def _style(text):
    return f"<style>{text}</style>\n"


def _inert(script):
    """A library's text inside a script element: nothing in it may end the element."""
    return re.sub(r"</(?=script)", r"<\\/", script, flags=re.I).replace("<!--", "<\\!--")
