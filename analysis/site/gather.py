"""Lays the site's pages out in a folder: the repository's files where they are, README.md's sections as pages.

Links among files keep working, since the folder has the repository's paths; those to README.md and its headings
lead to the page that holds the section. What a page links to is copied too.
"""

import html
import os
import re
import shutil

from analysis.errors import ResultError
from analysis.site import pages

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FENCE = re.compile(r"^(```+|~~~+)")
CODE = re.compile(r"(`+)(?:(?!\1).)+?\1(?!`)", re.S)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
INLINE_FORMULA = re.compile(r"\$`([^`]+)`\$")


def blocks(text):
    """(is code, lines) in turn; a fence belongs to its code."""
    fence, lines = None, []
    for line in text.splitlines(keepends=True):
        found = FENCE.match(line)
        if found and fence is None:
            yield False, "".join(lines)
            fence, lines = found.group(1), [line]
        elif found and line.strip() == fence:
            yield True, "".join([*lines, line])
            fence, lines = None, []
        else:
            lines.append(line)
    yield fence is not None, "".join(lines)


def sections(text):
    """{heading: its section} of a page, by headings of the second level; "" is what stands before them."""
    found, heading = {"": ""}, ""
    for code, part in blocks(text):
        for line in part.splitlines(keepends=True):
            if not code and line.startswith("## "):
                heading = line[3:].strip()
                found[heading] = ""
            found[heading] += line
    return found


def slug(heading):
    """The anchor that forges and the site give a heading."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def composed(readme):
    """{page: its Markdown} from README.md's text, and {anchor: page}."""
    have = sections(readme)
    wanted = {page: list(names) for page, (_, names) in pages.COMPOSED.items()}
    placed = {name for names in wanted.values() for name in names}
    for name in sorted(placed - set(have)):
        raise ResultError(
            pages.README, f"'## {name}'", "a section that the site shows", "correct analysis/site/pages.py"
        )
    wanted[pages.FIRST] += [name for name in have if name not in placed]
    texts = {}
    for page, names in wanted.items():
        title = pages.COMPOSED[page][0]
        texts[page] = (f"# {title}\n\n" if title else "") + "".join(have[name] for name in names)
        if title and names[:1] == [title]:  # a page that is one section: its heading is the title
            texts[page] = texts[page].replace(f"## {title}\n", "", 1)
    return texts, {slug(name): page for page, names in wanted.items() for name in names if name}


class Gatherer:
    def __init__(self, folder, formula=None):
        self._folder, self._formula = folder, formula or (lambda text, block: f"<code>{html.escape(text)}</code>")
        self._waiting, self._done, self._anchors = [], set(), {}

    def all(self):
        """Every page of the navigation and whatever these link to; returns the paths written."""
        texts, self._anchors = composed(self._read(pages.README, "analysis/site/pages.py"))
        self._done.update(texts)
        for page, text in texts.items():
            self._write(page, self._converted(page, text))
        for _, entries in pages.NAVIGATION:
            for _, page in entries:
                self._want(page, "analysis/site/pages.py")
        while self._waiting:
            path = self._waiting.pop()
            if path.endswith(".md"):
                self._write(path, self._converted(path, self._read(path, path)))
            else:
                os.makedirs(os.path.dirname(os.path.join(self._folder, path)) or ".", exist_ok=True)
                shutil.copyfile(os.path.join(ROOT, path), os.path.join(self._folder, path))
        return sorted(self._done)

    def _want(self, path, source):
        if path in self._done:
            return
        if not os.path.isfile(os.path.join(ROOT, path)):
            raise ResultError(source, "", f"a file '{path}' in the repository", "correct the link or the page's name")
        self._done.add(path)
        self._waiting.append(path)

    def _read(self, path, source):
        try:
            with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                return file.read()
        except OSError:
            raise ResultError(source, "", f"a file '{path}' in the repository", "correct the page's name") from None

    def _write(self, path, text):
        path = os.path.join(self._folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def _converted(self, page, text):
        parts = []
        for code, part in blocks(text):
            if not code:
                part = self._prose(page, part)
            elif part.startswith("```math\n"):
                part = "\n" + self._formula(part[len("```math\n") :].rsplit("```", 1)[0].strip(), True) + "\n"
            parts.append(part)
        return "".join(parts)

    def _prose(self, page, text):
        """Formulas and links of text outside of fences; what stands in backticks stays."""
        kept = []

        def keep(found):
            kept.append(found)
            return f"\x00{len(kept) - 1}\x00"

        text = INLINE_FORMULA.sub(lambda found: keep(self._formula(found.group(1), False)), text)
        text = CODE.sub(lambda found: keep(found.group()), text)
        text = LINK.sub(lambda found: self._link(page, *found.groups()), text)
        for index in reversed(range(len(kept))):
            text = text.replace(f"\x00{index}\x00", kept[index])
        return text

    def _link(self, page, image, words, target):
        written = f"{image}[{words}]({target})"
        if re.match(r"[a-z]+:", target):
            return written
        path, _, anchor = target.partition("#")
        whole = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else None
        if whole == pages.README or (whole is None and page in pages.COMPOSED):
            place = self._anchors.get(anchor, pages.FIRST)
            path = os.path.relpath(place, os.path.dirname(page) or ".")
            title = pages.COMPOSED[place][0]
            return f"[{words}]({path}{'#' + anchor if anchor and slug(title) != anchor else ''})"
        if whole and os.path.isdir(os.path.join(ROOT, whole)):
            return words if "`" in words or "\x00" in words or "/" in words else f"{words} (`{whole}/`)"
        if whole:
            self._want(whole, page)
        return written
