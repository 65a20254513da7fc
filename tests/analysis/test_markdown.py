"""Committed Markdown: every table is one to a CommonMark reader, every link leads somewhere."""

import functools
import os
import re
import unittest

try:
    from markdown_it import MarkdownIt
except ImportError:
    MarkdownIt = None

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOT_OURS = re.compile(r"^(\.|build|results$|__pycache__$)")  # below the root


def pages():
    for folder, folders, files in os.walk(ROOT):
        if folder == ROOT:
            folders[:] = [name for name in folders if not NOT_OURS.match(name)]
        yield from (os.path.join(folder, name) for name in sorted(files) if name.endswith(".md"))


@functools.lru_cache(maxsize=None)
def parse(text):
    return MarkdownIt("commonmark").enable("table").parse(text)


def table_lines(text):
    """Numbers of the lines that are meant as rows of a table: outside of code."""
    fenced, found = False, set()
    for number, line in enumerate(text.splitlines()):
        fenced ^= line.lstrip().startswith("```")
        if not fenced and line.startswith("|"):
            found.add(number)
    return found


def cells(line):
    return len(re.split(r"(?<!\\)\|", line.strip().strip("|")))


def faults(text):
    """Lines that look like a table's but are none, and rows of another length than their head."""
    lines, read = text.splitlines(), set()
    for token in parse(text):
        if token.type == "table_open":
            first, end = token.map
            read |= {n for n in range(first, end) if cells(lines[n]) == cells(lines[first])}
    return [f"line {n + 1}: {lines[n][:60]}" for n in sorted(table_lines(text) - read)]


def links(text):
    for token in parse(text):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target and not re.match(r"[a-z]+:", target):
                yield target.split("#")[0]


@unittest.skipIf(MarkdownIt is None, "python3-markdown-it is not installed")
class Markdown(unittest.TestCase):
    def test_every_committed_table_is_one(self):
        tables = 0
        for path in pages():
            with open(path, encoding="utf-8") as file:
                text = file.read()
            with self.subTest(os.path.relpath(path, ROOT)):
                self.assertEqual(faults(text), [])
            tables += sum(token.type == "table_open" for token in parse(text))
        self.assertGreater(tables, 60)

    def test_every_relative_link_resolves(self):
        found = 0
        for path in pages():
            with open(path, encoding="utf-8") as file:
                text = file.read()
            for target in filter(None, links(text)):
                found += 1
                with self.subTest(os.path.relpath(path, ROOT)):
                    self.assertTrue(os.path.exists(os.path.join(os.path.dirname(path), target)),
                                    target)
        self.assertGreater(found, 15)

    def test_the_test_sees_what_is_broken(self):
        good = "| a | b |\n| - | -: |\n| 1 | x\\|y |\n"
        self.assertEqual(faults(good), [])
        self.assertEqual(len(faults(good.replace("-:", ":"))), 3)
        self.assertEqual(len(faults(good.replace("\\|", "|"))), 1)
        self.assertEqual(list(links("[a](b.md#c) ![d](e.png) [f](https://g.example)")),
                         ["b.md", "e.png"])


if __name__ == "__main__":
    unittest.main()
