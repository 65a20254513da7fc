"""The folder, or the one file, a report is written to."""

import contextlib
import os
import shutil
import tempfile

from analysis import style
from analysis.errors import ResultError


@contextlib.contextmanager
def aside(path, instead="--out"):
    """A path beside `path` to write to; what is there takes `path`'s place when the block ends well.

    A link keeps pointing where it points, a device is written through, as `doublep` does. `instead`
    names the option that chooses another path.
    """
    try:
        target = os.path.realpath(path)
        if os.path.exists(target) and not os.path.isfile(target):
            yield target  # a folder is refused by whoever opens it
            return
        part = f"{target}.{os.getpid()}.partial"
        try:
            yield part
            os.replace(part, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
    except OSError as error:
        raise ResultError(path, "", f"a file that can be written ({error.strerror or error})",
                          f"choose another {instead} or make room") from None


def write_text(path, content, instead="--out"):
    """Writes one file, whole or not at all."""
    with aside(path, instead) as part, open(part, "w", encoding="utf-8") as file:
        file.write(content)


def refuse_input(path, inputs, option="-o"):
    """What is read is never overwritten."""
    for read in inputs:
        if os.path.exists(path) and os.path.exists(read) and os.path.samefile(path, read):
            raise ResultError(path, "", "another file than the result that is read", f"choose another {option}")


class Writer:
    """Files of one report: only the formats asked for, and errors that name the path.

    All or nothing: everything is written aside, in a folder within the folder, and takes its place
    at the end of the `with` block; where that is left by an error, what was there before stays.
    """

    def __init__(self, folder, formats, dpi):
        self.folder, self.formats, self.dpi = folder, formats, dpi
        self.images = [kind for kind in ("png", "svg") if kind in formats]

    def __enter__(self):
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._aside = tempfile.mkdtemp(prefix=".report-", suffix=".partial", dir=self.folder)
        except OSError as error:
            raise ResultError(self.folder, "", f"a folder that can be made ({error.strerror})",
                              "choose another --out") from None
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                for name in sorted(os.listdir(self._aside)):
                    os.replace(os.path.join(self._aside, name), os.path.join(self.folder, name))
        except OSError as failed:
            raise ResultError(failed.filename2 or self.folder, "",
                              f"a file that can be replaced ({failed.strerror})",
                              "choose another --out") from None
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def text(self, name, content):
        if name.rsplit(".", 1)[1] in self.formats:
            write_text(os.path.join(self._aside, name), content)

    def figures(self, drawn, name):
        """Saves one figure, or pages of it; returns a list of paths per page."""
        drawn = drawn if isinstance(drawn, list) else [drawn]
        names = [name] if len(drawn) == 1 else [f"{name}_{i + 1}" for i in range(len(drawn))]
        return [style.save(figure, self._aside, page, self.images, self.dpi)
                for figure, page in zip(drawn, names)]
