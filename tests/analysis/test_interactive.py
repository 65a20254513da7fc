"""The HTML page: what is on it, that its numbers are the tables', and that names are text everywhere."""

import base64
import re
import unittest
import unittest.mock

import numpy as np
import pages
import synthetic

from analysis import report, style
from analysis.interactive import bundles, plot
from analysis.reader import load

try:
    import plotly.graph_objects as plotly_objects
except ImportError:
    plotly_objects = None


def values(array):
    """The numbers of a typed array."""
    shape = [int(n) for n in array["shape"].split(",")] if "shape" in array else -1
    return np.frombuffer(base64.b64decode(array["bdata"]), "<" + array["dtype"]).reshape(shape)


class Page(pages.Written):
    def test_what_is_on_it(self):
        text = self.page(self.sweep(traces=2))
        read = pages.Reader(text)
        headings = re.findall(r"<h2>([^<]*)</h2>", text)
        self.assertEqual(
            headings,
            [
                "Origin",
                "Output error against cost",
                "Bytes at equal error",
                "One run, head by head",
                "Where each policy fails",
                "What each parameter does",
                "All runs",
            ],
        )
        for word in (
            "needle-4k",
            "code-8k",
            synthetic.digits("trace", "needle-4k"),
            "toy model",
            "1, 5",
            "0-5",
            "0123abc",
            synthetic.digits("program"),
            synthetic.digits("config"),
            "2026-01-02T03:04:05Z",
        ):
            self.assertIn(word, read.text)
        self.assertEqual(len(read.ids), len(set(read.ids)))
        for link in re.findall(r'href="#([^"]+)"', text):
            self.assertIn(link, read.ids)
        for _, attributes in read.elements:  # every chart has its data, with each cost
            if "data-chart" in attributes:
                for cost in ("bytes", "exact_tokens", "kept"):
                    self.assertIn(f"{attributes['data-chart']}-{cost}", read.data)

    def test_the_configuration_is_there_to_the_last_line(self):
        long = "name: long\n" + "".join(f"# line {i}\n" for i in range(9000))
        result = synthetic.write(
            self.path("r.h5"),
            [synthetic.trace()],
            [synthetic.run("quest", [synthetic.row()])],
            **{"config": long[:60000], "config.1": long[60000:]},
        )
        self.assertIn(long, pages.Reader(self.page(result)).text)

    def test_its_numbers_are_those_of_the_report(self):
        result = self.sweep(3)
        read = pages.Reader(self.page(result))
        with unittest.mock.patch("builtins.print"):
            self.assertEqual(
                report.main([result, "--out", self.folder, "--only", "table,ranking,heat", "--format", "md"]), 0
            )
        for name in ("table.md", "ranking.md", "failures.md"):
            with open(self.path(name), encoding="utf-8") as file:
                lines = [
                    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
                    for line in file
                    if line.startswith("|")
                ]
            lines = [[cell.replace("\\", "") for cell in line] for line in lines if not re.match(r"^-+:?$", line[0])]
            self.assertGreater(len(lines), 5)
            shown = [line for table in read.tables for line in table]
            for line in lines:
                self.assertIn(line, shown)

    def test_sorting_follows_numbers(self):
        ordered = [re.findall(r'data-order="([^"]+)">(never \([^<]+|[^<]+)<', self.page(self.sweep(3)))][0]
        self.assertGreater(len(ordered), 100)
        for key, shown in ordered:
            if shown.startswith("never"):
                self.assertEqual(key, "1e300")
            elif shown == "–":
                self.assertGreater(float(key), 1e300)
            else:
                self.assertEqual(float(key), float(shown.lstrip("≤ ").split(" of ")[0]))
        ranks = re.findall(r'<tr><td data-order="([^"]+)">(\d+|–)</td>', self.page(self.sweep(3)))
        self.assertGreater(len(ranks), 10)
        self.assertTrue(all(float(key) == (1e301 if shown == "–" else int(shown)) for key, shown in ranks))
        self.assertTrue(any(shown.startswith("never") for _, shown in ordered))

    def test_mean_tail_and_worst_head_side_by_side(self):
        result = self.sweep()
        chart = pages.Reader(self.page(result)).data["cost0-bytes"]
        titles = [note["text"] for note in chart["wide"]["annotations"]]
        self.assertEqual(
            titles, ["<b>Mean error</b>", "<b>95th percentile of the error</b>", "<b>Mean of the worst head</b>"]
        )
        run = next(run for run in load([result]).runs if run.policy == "quest")
        error = run.rows["output_error"]
        heads = [
            error[(run.rows["layer"] == layer) & (run.rows["head"] == head)].mean()
            for layer in (1, 5)
            for head in range(4)
        ]
        truth = [100 * error.mean(), 100 * np.quantile(error, 0.95), 100 * max(heads)]
        for axis, expected in zip(("y", "y2", "y3"), truth):
            drawn = [
                one
                for one in chart["data"]
                if one["yaxis"] == axis and run.key + run.program in one.get("customdata", [])
            ]
            self.assertEqual(len(drawn), 1)
            self.assertAlmostEqual(drawn[0]["y"][drawn[0]["customdata"].index(run.key + run.program)], expected)
        spans = [chart["wide"][f"xaxis{n}"]["domain"] for n in ("", 2, 3)]
        self.assertTrue(spans[0][1] < spans[1][0] and spans[1][1] < spans[2][0])
        self.assertEqual([chart["narrow"][f"xaxis{n}"]["domain"] for n in ("", 2, 3)], [[0, 1]] * 3)

    def test_the_front_is_what_no_run_beats(self):
        runs = [
            synthetic.run("quest", [synthetic.row(output_error=e, bytes_attend=b)], order=i, budget=i)
            for i, (b, e) in enumerate([(100, 0.5), (200, 0.6), (300, 0.2)])
        ]
        runs.append(synthetic.run("oracle_top_k", [synthetic.row(output_error=0.1, bytes_attend=50)], order=3))
        runs[-1]["reads_every_key"] = 1
        chart = pages.Reader(self.page(synthetic.write(self.path("r.h5"), [synthetic.trace()], runs))).data[
            "cost0-bytes"
        ]
        front = next(one for one in chart["data"] if one["name"] == "Pareto front of all")
        np.testing.assert_allclose(front["x"], [100 / 2**20, 300 / 2**20])
        np.testing.assert_allclose(front["y"], [50, 20])

    def test_maps_and_predictions_of_a_run(self):
        rows = [
            synthetic.row(
                layer,
                head,
                step,
                output_error=0.1 * (1 + head) + 0.01 * step,
                predicted_error=0.2,
                exact_mass=0.5 + 0.1 * head,
            )
            for layer in (2, 7)
            for head in range(3)
            for step in range(4)
        ]
        rows[5]["output_error"] = np.nan
        result = synthetic.write(
            self.path("r.h5"),
            [synthetic.trace(layers=(2, 7), heads=3, steps=4)],
            [
                synthetic.run("double_p", rows),
                synthetic.run(
                    "quest",
                    [
                        synthetic.row(layer, head, step, predicted_error=np.nan)
                        for layer in (2, 7)
                        for head in range(3)
                        for step in range(4)
                    ],
                    order=1,
                ),
            ],
        )
        found = pages.Reader(self.page(result)).data["runs-data"]
        charts = found["runs"][0]["charts"]
        self.assertEqual((charts["map0"][0]["x"], charts["map0"][0]["y"]), (["0", "1", "2"], ["2", "7"]))
        np.testing.assert_allclose(values(charts["map0"][0]["customdata"]), [[0.5, 0.6, 0.7]] * 2, rtol=1e-6)
        np.testing.assert_allclose(values(charts["map3"][0]["customdata"])[1], [11.5, 21.5, 31.5], rtol=1e-6)
        layer = next(one for one in charts["predicted"] if one["name"] == "layer 7")
        np.testing.assert_allclose(values(layer["y"])[:4], [0.1, 0.11, 0.12, 0.13], rtol=1e-6)
        self.assertEqual(values(layer["customdata"]).tolist()[5], [1, 1])
        self.assertEqual(sum(len(values(one["x"])) for one in charts["predicted"] if "layer" in one["name"]), 23)
        self.assertEqual(charts["ratio"][0]["x"], ["2.0", "2.1", "2.2", "7.0", "7.1", "7.2"])
        self.assertNotIn("predicted", found["runs"][1]["charts"])
        self.assertEqual(
            [pair for pair in found["runs"][0]["facts"] if pair[0] == "worst head"], [["worst head", "0.31500"]]
        )

    def test_names_are_text(self):
        clean = pages.Reader(self.page(self.sweep(policies=("double_p",))))
        hostile = pages.hostile(self.path("hostile.h5"))
        text = self.page(hostile, "--against", pages.moved(hostile, self.path("s.h5")))
        read = pages.Reader(text)
        self.assertEqual({tag for tag, _ in read.elements} - {tag for tag, _ in clean.elements} - {"ul", "li"}, set())
        scripts = [attributes for tag, attributes in read.elements if tag == "script"]
        self.assertEqual(len(scripts), len(read.data) + 2)
        self.assertFalse([name for _, attributes in read.elements for name in attributes if name.startswith("on")])
        for words in ("trace ", "model ", "task ", "sweep ", "policy ", "variant ", "name: "):
            self.assertTrue(words + pages.HOSTILE in " ".join(read.text.split()), words)
        for name, chart in read.data.items():  # plotly's own tags: a name has none
            drawn = (
                chart["data"]
                if "data" in chart
                else [one for run in chart["runs"] for data in run["charts"].values() for one in data]
            )
            for one in drawn:
                for label in [one.get("name", ""), *one.get("text", [])]:
                    self.assertEqual(set(re.findall(r"<[^>]*>?", label)) - {"<b>", "</b>", "<br>"}, set(), name)
                self.assertNotIn("window", one.get("hovertemplate", ""))

    def test_nothing_is_fetched(self):
        text = self.page(self.sweep())
        self.assertEqual(re.findall(r"https?://|//[a-z]+\.|@import", text), [])
        for tag, attributes in pages.Reader(text).elements:
            for name in ("src", "srcset", "data", "action", "poster"):
                self.assertNotIn(name, attributes, tag)
            self.assertRegex(attributes.get("href", "#"), "^#")
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text).group(1)
        self.assertIn("default-src 'none'", policy)
        self.assertNotRegex(policy, r"\*|https?:|'self'|unsafe-eval")

    def test_the_same_twice(self):
        result = self.sweep()
        self.assertEqual(self.page(result), self.page(result, name="again.html"))

    def test_markers_of_every_policy(self):
        markers = [marker for _, marker in [*style.LOOK.values(), *style.SPARE]]
        self.assertEqual(set(markers), set(plot.SYMBOLS))
        self.assertEqual(len(set(plot.SYMBOLS.values())), len(plot.SYMBOLS))

    @unittest.skipIf(plotly_objects is None, "plotly is not installed: pip install -r analysis/requirements.txt")
    def test_plotly_knows_every_word(self):
        result = self.sweep()
        data = pages.Reader(self.page(result, "--against", pages.moved(result, self.path("s.h5")))).data
        charts = [
            (chart["data"], layout)
            for name, chart in data.items()
            if "data" in chart
            for layout in (chart["wide"], chart["narrow"])
        ]
        for run in data["runs-data"]["runs"]:
            charts += [
                (drawn, layout)
                for name, drawn in run["charts"].items()
                for layout in data["runs-data"]["layouts"][run["trace"]][name].values()
            ]
        self.assertGreater(len(charts), 40)
        for drawn, layout in charts:
            plotly_objects.Figure(drawn, layout)  # refuses what is not in its schema

    def test_a_library_cannot_end_its_element(self):
        libraries = bundles.Bundles("a='</script><b>';b='<!--'", "", "")
        with unittest.mock.patch.object(bundles, "load", return_value=libraries):
            read = pages.Reader(self.page(self.sweep()))
        self.assertNotIn("b", [tag for tag, _ in read.elements])
        self.assertIn(r"a='<\/script><b>';b='<\!--'", read.scripts)


if __name__ == "__main__":
    unittest.main()
