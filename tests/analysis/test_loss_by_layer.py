"""analysis.loss_by_layer: rows that are known."""

import json
import os
import tempfile
import unittest

from analysis import loss_by_layer
from analysis.answers import loss_header

CONFIG = dict(models=[dict(name="m")], policies=[dict(name="a", policy="quest"), dict(name="b", policy="double_p")])


def row(task, policy, alone, errors, question=0):
    return dict(model="m", task=task, length=100, question=question, policy=policy, kl=0.25, bytes_share=0.125,
                alone={str(layer): value for layer, value in zip((0, 2, 10), alone)},
                errors={str(layer): heads for layer, heads in zip((0, 2, 10), errors)})


ROWS = [row("vt", "a", (0.1, 0.3, 0.0), ([0.1, 0.2], [0.3, 0.9], [0.0, 0.4])),
        row("vt", "a", (0.3, 0.3, 0.2), ([0.3, 0.2], [0.3, 0.7], [0.2, 0.4]), question=1),
        row("cwe", "b", (1.0, 0.0, 0.0), ([1.0, 0.0], [0.0, 0.0], [0.0, 0.5]))]


class LossByLayer(unittest.TestCase):
    def run_on(self, text):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "rows.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return loss_by_layer.main([path, "--out", folder.name]), folder.name

    def test_means_and_order(self):
        groups = loss_by_layer.losses(CONFIG, ROWS)
        self.assertEqual(list(groups), ["m, all questions together", "m, vt, 100 tokens", "m, cwe, 100 tokens"])
        (a,) = groups["m, vt, 100 tokens"]
        self.assertEqual((a.name, a.questions, a.layers), ("a", 2, [0, 2, 10]))
        cells = loss_by_layer.line(a)
        self.assertEqual(cells[4], "0.6000")  # .2 + .3 + .1
        self.assertEqual(cells[5], "2 (50 %), 0 (33 %), 10 (17 %)")
        self.assertTrue(cells[8].startswith("2.1 (0.80), 10.1 (0.40), 2.0 (0.30)"))
        self.assertEqual([loss.name for loss in groups["m, all questions together"]], ["a", "b"])

    def test_page_and_picture(self):
        code, folder = self.run_on("".join(json.dumps(line) + "\n" for line in [loss_header(CONFIG), *ROWS]))
        self.assertEqual(code, 0)
        with open(os.path.join(folder, "loss_by_layer.md"), encoding="utf-8") as file:
            self.assertIn("2 (50 %), 0 (33 %), 10 (17 %)", file.read())
        self.assertGreater(os.path.getsize(os.path.join(folder, "loss_by_layer.png")), 5000)

    def test_without_any_layer_alone(self):
        rows = [row | dict(alone={}) for row in ROWS]
        code, folder = self.run_on("".join(json.dumps(line) + "\n" for line in [loss_header(CONFIG), *rows]))
        self.assertEqual(code, 0)
        with open(os.path.join(folder, "loss_by_layer.md"), encoding="utf-8") as file:
            self.assertIn("2.1 (0.80)", file.read())

    def test_what_is_no_file_of_rows(self):
        for text in ("", "{}\n", json.dumps(loss_header(CONFIG)) + "\n"):
            self.assertEqual(self.run_on(text)[0], 2)


if __name__ == "__main__":
    unittest.main()
