"""The commands that pages name, found and taken apart, so that a test can ask the programs about them."""

import re
import shlex

from analysis.site.gather import blocks

SHELL = ("", "sh", "bash", "shell", "console")
OPTION = re.compile(r"^--?[A-Za-z][\w-]*$")


def of(text):
    """Command lines of a page: of its shell blocks, and what stands in backticks; each as words."""
    found = []
    for code, part in blocks(text):
        if code:
            first, _, body = part.partition("\n")
            if first.strip("`~ ") in SHELL:
                lines = body.replace("\\\n", " ").splitlines()[:-1]
            else:
                lines = []
        else:
            lines = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", part)]
        for line in lines:
            for command in re.split(r"&&|\|\||;", line):
                try:
                    words = shlex.split(command, comments=True)
                except ValueError:
                    continue  # a sentence with an apostrophe
                while words and re.match(r"^\w+=", words[0]):
                    words = words[1:]
                if words:
                    found.append(words)
    return found


def doublep(words):
    """(subcommand, options) where this calls the program, else None."""
    if words[0].rsplit("/", 1)[-1] != "doublep" or len(words) == 1:
        return None
    options = [word.split("=")[0] for word in words[1:] if OPTION.match(word.split("=")[0])]
    return (words[1] if not words[1].startswith("-") else "", options)


def python(words):
    """(script or module's path, options) where this runs a Python file of the repository, else None."""
    if not re.match(r"^(.*/)?python3?$", words[0]) or len(words) < 2:
        return None
    if words[1] == "-m":
        name = words[2].replace(".", "/")
        place = [f"{name}.py", f"{name}/__main__.py"]
    else:
        place = [words[1]]
    return place, [word.split("=")[0] for word in words[2:] if OPTION.match(word.split("=")[0]) and word != "-m"]
