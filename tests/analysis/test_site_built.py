"""The site as MkDocs builds it, in a browser, 1280 and 400 pixels wide: nothing comes from elsewhere.

Set DOUBLEP_SCREENSHOTS to a folder to keep pictures of every page, and look at them.
"""

import contextlib
import functools
import http.server
import io
import json
import os
import re
import tempfile
import threading
import unittest

import browser

from analysis.site import __main__ as program
from analysis.site import pages

try:
    import latex2mathml
    import material
except ImportError:
    material = latex2mathml = None


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@unittest.skipIf(None in (material, latex2mathml), "MkDocs is not installed: pip install -r analysis/site/requirements.txt")
class Built(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            status = program.main(["--out", cls.folder])
        assert status == 0, said.getvalue()  # strict: any warning of MkDocs
        cls.pages = [
            re.sub(r"README\.md$", "index.md", page)[:-3] + ".html"
            for _, entries in pages.NAVIGATION
            for _, page in entries
        ]

    def test_every_page_is_built_and_asks_for_nothing_from_elsewhere(self):
        for page in self.pages:
            with open(os.path.join(self.folder, page), encoding="utf-8") as file:
                text = file.read()
            asked = re.findall(r'<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)="([^"]+)"', text)
            self.assertGreater(len(asked), 2)
            self.assertEqual([target for target in asked if re.match(r"(?:https?:)?//", target)], [], page)

    def test_formulas_are_drawn_as_such(self):
        with open(os.path.join(self.folder, "core/policy/index.html"), encoding="utf-8") as file:
            text = file.read()
        self.assertGreater(text.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">'), 12)
        self.assertGreater(text.count('display="inline"'), 40)
        self.assertNotIn("$`", text)
        self.assertNotRegex(re.sub(r"<[^>]*>", "", text), r"\\[a-z]{3,}")  # LaTeX that was left over

    @unittest.skipIf(browser.missing(), browser.missing())
    def test_in_a_browser(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=self.folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        window = browser.Browser()
        self.addCleanup(window.close)
        root = f"http://127.0.0.1:{server.server_port}/"
        kept = os.environ.get("DOUBLEP_SCREENSHOTS")
        for page in self.pages:
            for width in (1280, 400):
                with self.subTest(f"{page}, {width}"):
                    window.visit(root + page, width)
                    window.until("document.readyState === 'complete'")
                    self.assertEqual(window.complaints(), [])
                    self.assertLessEqual(*window.run("return [document.documentElement.scrollWidth, innerWidth]"))
                    self.assertEqual(window.run("return [...document.images].filter(i => !i.naturalWidth).length"), 0)
                    asked = [
                        json.loads(entry["message"])["message"] for entry in window.driver.get_log("performance")
                    ]
                    asked = [
                        m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"
                    ]
                    self.assertEqual([url for url in asked if not url.startswith((root, "data:", "blob:"))], [])
                    if kept:
                        window.screenshot(os.path.join(kept, f"site-{page.replace('/', '-')[:-5]}-{width}.png"), 6000)


if __name__ == "__main__":
    unittest.main()
