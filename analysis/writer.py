"""The folder a report is written to."""

import os

from analysis import style
from analysis.errors import ResultError


def write_text(path, content, instead="--out"):
    """Writes one file; `instead` names the option that chooses another."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        raise ResultError(path, "", f"a file that can be written ({error.strerror})",
                          f"choose another {instead} or make room") from None


class Writer:
    """Files of one report: only the formats asked for, and errors that name the path."""

    def __init__(self, folder, formats, dpi):
        self.folder, self.formats, self.dpi = folder, formats, dpi
        self.images = [kind for kind in ("png", "svg") if kind in formats]
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise ResultError(folder, "", f"a folder that can be made ({error.strerror})",
                              "choose another --out") from None

    def text(self, name, content):
        if name.rsplit(".", 1)[1] not in self.formats:
            return
        write_text(os.path.join(self.folder, name), content)

    def figures(self, drawn, name):
        """Saves one figure, or pages of it; returns a list of paths per page."""
        drawn = drawn if isinstance(drawn, list) else [drawn]
        names = [name] if len(drawn) == 1 else [f"{name}_{i + 1}" for i in range(len(drawn))]
        return [style.save(figure, self.folder, page, self.images, self.dpi)
                for figure, page in zip(drawn, names)]
