"""Questions over a long Python module whose answers running it gives, and text that no model has seen."""
import json
import lzma
import os

from recorder.documentation import ACTIONS, PLACES, THINGS

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sources.json.xz")
ASKED = 8  # functions that a question can be about, of each kind; a module has these and `size` more
HEADER = "Read this Python module.\n\n```python\n{module}```\n\n"


class Module:
    """Functions without a name twice; `number_of` and `calls` are chosen, not read from the text."""

    def __init__(self, draw):
        self.draw, self.names, self.functions = draw, set(), []

    def name(self):
        while True:
            name = "_".join((self.draw.choice(ACTIONS), self.draw.choice(PLACES), self.draw.choice(THINGS)))
            if name not in self.names:
                self.names.add(name)
                return name

    def number(self):
        return self.draw.randint(10000, 99999)

    def add(self, name, arguments, body):
        """Its place among the others is drawn: what it calls may stand before it or behind."""
        text = f"def {name}({arguments}):\n" + "".join(f"    {line}\n" for line in body)
        self.functions.insert(self.draw.randint(0, len(self.functions)), text)

    def constant(self):
        name, number = self.name(), self.number()
        self.add(name, "", [self.about(), f"return {number}"])
        return name, number

    def caller(self, called):
        name = self.name()
        self.add(name, "", [self.about(), f"return {called}()"])
        return name

    def limited(self):
        name, number = self.name(), self.number()
        thing = self.draw.choice(THINGS)
        self.add(name, f"{thing}, limit={number}",
                 [self.about(), f"if len({thing}) > limit:", f"    raise ValueError('{thing} too long')",
                  f"return {thing}[:limit]"])
        return name, number

    def other(self):
        thing, factor = self.draw.choice(THINGS), self.number()
        self.add(self.name(), thing, [self.about(), f"total = sum({thing})",
                                      f"return total * {factor} + len({thing})"])

    def about(self):
        return (f'"""{self.draw.choice(ACTIONS).title()}s the {self.draw.choice(PLACES)} '
                f'{self.draw.choice(THINGS)} before the {self.draw.choice(THINGS)} is read."""')

    def text(self):
        return "\n\n".join(self.functions)


def question(task, draw, size):
    """Of three kinds: what a function returns, which is what another returns; a parameter's default; which
    function calls another one."""
    from . import Question
    module = Module(draw)
    constants = [module.constant() for _ in range(ASKED)]
    callers = [module.caller(name) for name, _ in constants]
    limited = [module.limited() for _ in range(ASKED)]
    at = draw.randrange(ASKED)
    for _ in range(size):
        module.other()
    (constant, number), caller, (function, default) = constants[at], callers[at], limited[at]
    asked, prefix, answer = {
        "code_returns": (f"What number does `{caller}()` return?", f"`{caller}()` returns", number),
        "code_default": (f"What is the default value of `limit` in `{function}`?",
                         f"The default value of `limit` in `{function}` is", default),
        "code_caller": (f"Which function calls `{constant}()`?", f"`{constant}()` is called by the function",
                        caller)}[task]
    return Question(task, HEADER.format(module=module.text()) + asked, " " + prefix, (str(answer),), 32)


def sources(seed_draw, lines):
    """[text of so many lines, name of the first file]: this repository's own C++, in an order that is drawn;
    none of it was there when today's models were trained. It is the core of 2026-11-27, kept in a file of its own
    {path: text}, so that a seed gives the same text whatever becomes of the sources."""
    with lzma.open(SOURCES, "rt", encoding="utf-8") as file:
        kept = json.load(file)
    files = sorted(kept)
    seed_draw.shuffle(files)
    text = []
    for name in files:
        text += [f"// File: {name}", *kept[name].splitlines(), ""]
    if lines > len(text):
        from . import TaskError
        raise TaskError(f"the sources have only {len(text)} lines; ask for fewer tokens")
    return "\n".join(text[:lines]), files[0]


TASKS = {task: question for task in ("code_returns", "code_default", "code_caller")}
