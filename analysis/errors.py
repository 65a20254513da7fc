"""The one error a user can cause: a single line that names file, place, expectation, remedy."""


class ResultError(Exception):
    """A result file or an argument that cannot be used. `str()` is one line."""

    def __init__(self, path, place, expected, remedy):
        where = f"{path}: {place}" if place else f"{path}"
        line = f"{where}: expected {expected}; {remedy}"
        super().__init__(" ".join(line.split()))
