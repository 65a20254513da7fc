"""The HTML page in a real browser, as a person meets it: 1280 and 400 pixels wide, read from the disk.

Set DOUBLEP_SCREENSHOTS to a folder to keep pictures of both, and look at them.
"""

import json
import os
import tempfile
import unittest

import browser
import pages
import synthetic

from analysis.errors import ResultError
from analysis.interactive import bundles


def missing():
    try:
        bundles.load()
    except ResultError:
        return "plotly or itables is not installed: pip install -r analysis/requirements.txt"
    return browser.missing()


HEADER = "[...document.querySelectorAll('#runs table.data')[0].tHead.rows[0].cells]"  # of the first table of all runs
CHART = "const c = document.querySelector('#cost [data-chart]');"
HOVER = CHART + "Plotly.Fx.hover(c, [{curveNumber: c.data.findIndex(one => one.name%s), pointNumber: 0}], 'xy')"
# Pairs of labels that lie on each other: ticks of one axis, titles of panels, legend entries, tools over titles.
OVERLAPS = """
const seen = [], found = [];
for (const plot of document.querySelectorAll(".js-plotly-plot")) {
  const groups = [...plot.querySelectorAll("[class*='axislayer']")].map(g => [...g.querySelectorAll("text")]);
  groups.push([...plot.querySelectorAll(".annotation text, .legend text, .xtitle, .ytitle, .gtitle")]);
  for (const group of groups) {
    const boxes = group.map(t => [t.textContent, t.getBoundingClientRect()]).filter(([, b]) => b.width && b.height);
    seen.push(boxes.length);
    boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
      const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (wide > 1 && high > 2) found.push([a, b]);
    }));
  }
}
return [seen.reduce((a, b) => a + b, 0), found];
"""
# Texts of charts that leave the page at a side.
OUTSIDE = """
return [...document.querySelectorAll(".js-plotly-plot text")].filter(t => t.textContent.trim())
  .map(t => [t.textContent, t.getBoundingClientRect()])
  .filter(([, b]) => b.width && (b.left < -1 || b.right > innerWidth + 1)).map(([text]) => text);
"""


@unittest.skipIf(missing(), missing())
class InABrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.hostile, cls.page = (os.path.join(folder.name, name) for name in ("hostile.html", "page.html"))
        named = pages.hostile(os.path.join(folder.name, "h.h5"))
        sweep = synthetic.realistic(os.path.join(folder.name, "r.h5"), 3, 2, (0, 3, 9), 8, 8)
        for out, result in ((cls.hostile, named), (cls.page, sweep)):
            status, said = pages.call(result, "--against", pages.moved(result, result + ".moved.h5"), "-o", out)
            assert status == 0, said
        cls.browser = browser.Browser()
        cls.addClassCleanup(cls.browser.close)

    def load(self, path, width):
        self.browser.complaints()  # of the page before
        self.browser.driver.get_log("performance")
        self.browser.open(path, width)
        self.browser.until("document.documentElement.dataset.ready === 'yes'")

    def rows(self, section):
        return self.browser.run(
            f"return [...document.querySelectorAll('#{section} table.data')].map("
            "t => [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.textContent)))"
        )

    def test_it_draws_and_fetches_nothing(self):
        for width in (1280, 400):
            self.load(self.page, width)
            charts = self.browser.run(
                "return document.querySelectorAll('[data-chart], [data-run-chart]:not([hidden])').length"
            )
            self.assertEqual(charts, 3 + 4)  # two traces, the comparison, the maps; these rows predict no error
            self.assertEqual(self.browser.run("return document.querySelectorAll('.js-plotly-plot').length"), charts)
            self.assertGreater(
                self.browser.run("return document.querySelectorAll('.scatterlayer .point').length"), 200
            )
            self.assertEqual(
                self.browser.run("return document.querySelectorAll('.dt-container').length"),
                self.browser.run("return document.querySelectorAll('table.data').length"),
            )
            self.assertEqual(self.browser.complaints(), [])
            asked = [json.loads(entry["message"])["message"] for entry in self.browser.driver.get_log("performance")]
            asked = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
            self.assertEqual(
                [url for url in asked if not url.startswith(("data:", "blob:"))], ["file://" + self.page]
            )

    def test_nothing_overlaps_or_leaves_the_page(self):
        for path in (self.page, self.hostile):
            for width in (1280, 400):
                with self.subTest(f"{os.path.basename(path)}, {width}"):
                    self.load(path, width)
                    inside = self.browser.run("return [document.documentElement.scrollWidth, innerWidth]")
                    self.assertLessEqual(inside[0], inside[1])
                    seen, overlaps = self.browser.run(OVERLAPS)
                    self.assertGreater(seen, 60)
                    self.assertEqual(overlaps, [])
                    self.assertEqual(self.browser.run(OUTSIDE), [])

    def test_panels_stand_side_by_side_or_below(self):
        for width, count in ((1280, 3), (400, 1)):
            self.load(self.page, width)
            boxes = self.browser.run(
                "return [...document.querySelector('#cost [data-chart]').querySelectorAll('.nsewdrag')]"
                ".map(e => e.getBoundingClientRect()).map(b => [Math.round(b.left), Math.round(b.top)])"
            )
            self.assertEqual(len({left for left, _ in boxes}), count)
            self.assertEqual(len({top for _, top in boxes}), 4 - count)

    def test_tables_sort_and_filter(self):
        self.load(self.page, 1280)
        before = self.rows("runs")[0]
        column = self.browser.run(
            f"return {HEADER}.findIndex(c => c.textContent.startsWith('p95'))"
        )
        button = f"{HEADER}[{column}].querySelector('.dtcc-button_order')"
        self.browser.run(button + ".click()")
        up = [float(row[column]) for row in self.rows("runs")[0]]
        self.assertEqual(up, sorted(up))
        self.assertNotEqual(up, [float(row[column]) for row in before])
        self.browser.run(button + ".click()")
        down = [float(row[column]) for row in self.rows("runs")[0]]
        self.assertEqual(down, sorted(down, reverse=True))
        self.assertGreater(down[0], up[-1] - 1e-12)
        self.browser.run(
            "const box = document.querySelector('#runs input.dt-input'); box.value = 'quest';"
            "box.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        left = self.rows("runs")[0]
        self.assertEqual({row[0] for row in left}, {"quest"})
        self.assertEqual(len(left), 3)

    def test_a_column_filters_by_its_numbers(self):
        self.load(self.page, 1280)
        self.browser.run(
            f"{HEADER}.find(c => c.textContent.startsWith('x dense'))"
            ".querySelector('.dtcc-button_dropdown').click()"
        )
        self.browser.run(
            "const box = document.querySelector('.dtcc-dropdown select'); box.value = 'less';"
            "box.dispatchEvent(new Event('input', {bubbles: true}));"
            "const number = document.querySelector('.dtcc-dropdown input'); number.value = '0.05';"
            "number.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        header = self.browser.run(
            f"return {HEADER}.map(c => c.textContent)"
        )
        column = next(i for i, name in enumerate(header) if name.startswith("x dense"))
        left = [float(row[column]) for row in self.rows("runs")[0]]
        self.assertGreater(len(left), 0)
        self.assertLess(max(left), 0.05)

    def test_a_run_is_chosen_by_link_select_and_mark(self):
        self.load(self.page, 1280)
        with open(self.page, encoding="utf-8") as file:
            runs = pages.Reader(file.read()).data["runs-data"]["runs"]
        for run, act in (
            (7, "document.querySelectorAll('#runs [data-run]')[7].click()"),
            (1, "const s = document.getElementById('choose-run'); s.value = 1; s.dispatchEvent(new Event('change'))"),
            (4, CHART + f"c.emit('plotly_click', {{points: [{{customdata: '{runs[4]['id']}'}}]}})"),
        ):
            self.browser.run(act)
            self.assertEqual(
                self.browser.run("return [...document.querySelectorAll('#facts dd')].map(d => d.textContent)"),
                [value for _, value in runs[run]["facts"]],
            )
            drawn = self.browser.run(
                "return document.querySelector('[data-run-chart=map3]').data[0].customdata.bdata"
            )
            self.assertEqual(drawn, runs[run]["charts"]["map3"][0]["customdata"]["bdata"])
            self.assertEqual(self.browser.run("return document.getElementById('choose-run').value"), str(run))

    def test_the_cost_is_chosen_and_hovering_tells_the_figures(self):
        self.load(self.page, 1280)
        title = "return document.querySelector('#cost .xtitle').textContent"
        self.assertEqual(self.browser.run(title), "MiB read per layer and step")
        choice = "const s = document.getElementById('choose-cost'); s.value = 'exact_tokens';"
        self.browser.run(choice + "s.dispatchEvent(new Event('change'))")
        self.browser.until("document.querySelector('#cost .xtitle').textContent === 'Exact tokens per head'", 10)
        self.browser.run(HOVER % " === 'Quest'")
        self.browser.until("document.querySelector('#cost .hovertext')", 10)
        told = self.browser.run("return document.querySelector('#cost .hovertext').textContent")
        for word in ("Quest", "budget=", "error: mean ", "p95 ", "worst head ", "x dense"):
            self.assertIn(word, told)

    def test_names_are_text(self):
        self.load(self.hostile, 1280)
        self.assertIsNone(self.browser.run("return window.hacked"))
        self.assertEqual(self.browser.run("return document.images.length"), 0)
        self.assertEqual(self.browser.complaints(), [])
        self.assertIn(pages.HOSTILE, self.browser.run("return document.querySelector('h1').textContent"))
        legend = "".join(
            self.browser.run("return [...document.querySelectorAll('#cost .legendtext')].map(t => t.textContent)")
        )
        self.assertIn("<script>window.hacked=1</script>", legend.replace(" ", ""))
        self.assertIn("$x^2$", legend)
        self.browser.run(HOVER % ".startsWith('title')")
        self.browser.until("document.querySelector('#cost .hovertext')", 10)
        self.assertIn("<img", self.browser.run("return document.querySelector('#cost .hovertext').textContent"))
        self.assertIsNone(self.browser.run("return window.hacked"))

    def test_pictures_for_people(self):
        kept = os.environ.get("DOUBLEP_SCREENSHOTS")
        with tempfile.TemporaryDirectory() as folder:
            for path in (self.page, self.hostile):
                for width in (1280, 400):
                    self.load(path, width)
                    picture = os.path.join(kept or folder, f"{os.path.basename(path)[:-5]}-{width}.png")
                    self.browser.screenshot(picture)
                    with open(picture, "rb") as file:
                        start = file.read(24)
                    self.assertEqual(start[:8], b"\x89PNG\r\n\x1a\n")
                    self.assertEqual(int.from_bytes(start[16:20], "big"), width)


if __name__ == "__main__":
    unittest.main()
