"""The zoo's prompts repeat and hold what they ask for; its table is that of its rows; a model that
travelled in pieces is whole or refused."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

DATA = os.path.join(os.path.dirname(__file__), "..", "..", "data")
sys.path.insert(0, DATA)

import make_prompt
import zoo


def words(text):
    return len(text.split())


class Prompts(unittest.TestCase):
    def test_planted_numbers_stand_once_and_are_asked_for(self):
        text, numbers = make_prompt.needle(5, 80)
        self.assertEqual(make_prompt.needle(5, 80)[0], text)
        self.assertNotEqual(make_prompt.needle(6, 80)[0], text)
        body, question = text.rsplit("\nWhat is ", 1)
        notes = [line for line in body.splitlines() if line.startswith("Note: the hard limit of ")]
        self.assertEqual(len(notes), make_prompt.FACTS)
        self.assertEqual(len(set(numbers)), make_prompt.ASKED)
        for number in numbers:
            line = next(line for line in notes if f" is {number} " in line)
            self.assertEqual(body.count(str(number)), 1)
            self.assertIn(line[len("Note: "):line.index(" is ")], question)
        at = [body.index(note) / len(body) for note in notes]
        for i, place in enumerate(at):  # spread over the whole text
            self.assertAlmostEqual(place, (2 * i + 1) / (2 * make_prompt.FACTS), delta=0.06)

    def test_no_section_comes_twice(self):
        body = make_prompt.needle(5, 800)[0]
        names = [line for line in body.splitlines() if line.startswith("### ")]
        self.assertEqual(len(names), 800)
        self.assertEqual(len(set(names)), 800)
        sections = {section.split("\n", 1)[1] for section in body.split("### ")[1:]}
        self.assertEqual(len(sections), 800)

    def test_a_prompt_is_the_longest_that_fits(self):
        for make, step in ((make_prompt.needle, 200), (make_prompt.code, 40)):
            text, _ = make_prompt.longest(lambda size: make(5, size), 3000, words, make_prompt.FACTS)
            self.assertLessEqual(words(text), 3000)
            self.assertGreater(words(text), 3000 - step)

    def test_code_asks_for_its_first_file(self):
        text, _ = make_prompt.code(3, 500)
        first = text.splitlines()[0].removeprefix("// File: ")
        self.assertTrue(os.path.exists(os.path.join(DATA, "..", first)))
        self.assertIn(f"what {first}, the first of these files, does", text.splitlines()[-1])


class Table(unittest.TestCase):
    def test_it_is_that_of_the_rows(self):
        with open(zoo.README, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(zoo.replace_table(text, zoo.read_rows(zoo.ROWS)), text)

    def test_computed_rows_are_computed(self):
        try:
            rows = zoo.computed()
        except ImportError as error:
            self.skipTest(f"the estimates of data/zoo.json are not computed again: {error}")
        self.assertEqual([row for row in zoo.read_rows(zoo.ROWS) if "seconds" not in row], rows)

    def test_recorded_outputs_are_reproduced(self):
        measured = [row for row in zoo.read_rows(zoo.ROWS) if "seconds" in row]
        if not measured:
            self.skipTest("data/zoo.json holds no measured row yet")
        for row in measured:
            with self.subTest(row["trace"]):
                self.assertLess(row["dense_mismatch"], 1e-4)


class Pieces(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.zoo = folder.name, os.path.join(folder.name, "zoo")
        self.model = os.path.join(folder.name, "m.gguf")
        with open(self.model, "wb") as file:
            file.write(os.urandom(2_500_000))

    def script(self, *arguments):
        # Without an interpreter: what is tested here comes before it.
        return subprocess.run(["bash", "data/record_zoo_gpu.sh", *arguments], text=True,
                              cwd=os.path.join(DATA, ".."), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT,
                              env=dict(os.environ, ZOO=self.zoo, OUT=self.zoo, PYTHON="true"))

    def carry(self, names):
        """Pieces arrive a few at a time."""
        for name in names:
            call = os.path.join(self.folder, "call-" + name)
            os.mkdir(call)
            os.rename(os.path.join(self.folder, "pieces", name), os.path.join(call, name))
            self.assertEqual(self.script("keep", call).returncode, 0)

    def test_whole_again_or_refused(self):
        done = self.script("split", self.model, "smollm2-135m",
                           os.path.join(self.folder, "pieces"), "1")
        self.assertEqual(done.returncode, 0, done.stdout)
        names = sorted(os.listdir(os.path.join(self.folder, "pieces")))
        self.assertEqual(names, [f"smollm2-135m.{end}" for end in
                                 ("gguf.000", "gguf.001", "gguf.002", "sha256")])
        self.carry([names[3], names[0], names[2]])
        done = self.script("record", "smollm2-135m=8192")
        self.assertEqual(done.returncode, 2)
        self.assertIn("are not the whole model", done.stdout)
        self.carry([names[1]])
        done = self.script("record", "smollm2-135m=8192")
        self.assertEqual(done.returncode, 0, done.stdout)
        with open(self.model, "rb") as sent, \
                open(os.path.join(self.zoo, "smollm2-135m.gguf"), "rb") as got:
            self.assertEqual(sent.read(), got.read())


if __name__ == "__main__":
    unittest.main()
