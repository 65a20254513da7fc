"""A headless Chromium for the tests of pages, driven by Debian's chromium-driver and python3-selenium."""

import shutil

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
except ImportError:
    webdriver = None


def missing():
    """What is not installed, in words; "" where a browser can be started."""
    if webdriver is None:
        return "python3-selenium is not installed"
    if not shutil.which("chromedriver"):
        return "chromium-driver is not installed"
    return ""


class Browser:
    """One window; `width` and `height` are those of the page, in CSS pixels."""

    def __init__(self):
        options = webdriver.ChromeOptions()
        for word in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_script_timeout(60)

    def size(self, width, height=900):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def open(self, path, width=1280):
        self.visit("file://" + path, width)

    def visit(self, address, width=1280):
        self.size(width)
        self.driver.get(address)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, condition, seconds=60):
        """Waits for a JavaScript expression to be true."""
        self.driver.execute_async_script(
            "const done = arguments[1], end = Date.now() + 1000 * arguments[0];"
            f"(function look() {{ if ({condition}) done(); else if (Date.now() < end) setTimeout(look, 50);"
            f" else done(); }})();",
            seconds,
        )
        if not self.run(f"return !!({condition})"):
            raise AssertionError(f"not within {seconds} s: {condition}\n{self.complaints()}")

    def complaints(self):
        """What the page's console says."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def screenshot(self, path, most=20000):
        """The whole page, as high as it is."""
        width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        self.size(width, min(height, most))
        self.driver.save_screenshot(path)

    def close(self):
        self.driver.quit()
