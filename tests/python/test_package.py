"""The package as a whole: the stub says what there is, and `python -m doublep` is the program."""

import ast
import contextlib
import importlib.metadata
import inspect
import io
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

from support import ROOT, Layer

import doublep
from doublep import _core

try:
    importlib.metadata.distribution("doublep")
    INSTALLED = not Path(doublep.__file__).is_relative_to(os.path.join(ROOT, "build"))
except importlib.metadata.PackageNotFoundError:  # a build's, wherever it lies
    INSTALLED = False

STUB = ast.parse(Path(_core.__file__).with_name("_core.pyi").read_text())


def arguments(node):
    """[(name, default or None)] and the names that are for keywords only."""
    given = node.args
    defaults = [None] * (len(given.args) - len(given.defaults)) + given.defaults
    pairs = list(zip(given.args, defaults)) + list(zip(given.kwonlyargs, given.kw_defaults))
    return ([(a.arg, None if d is None else ast.literal_eval(d)) for a, d in pairs],
            [a.arg for a in given.kwonlyargs], given.kwarg and given.kwarg.arg)


def real_arguments(function):
    """The same of a function of the module, as nanobind recorded it."""
    (signature, _, values), = function.__nb_signature__
    # Types are words for people, defaults \0, \1 and so on.
    signature = re.sub(r"\\(\d+)", r"__default(\1)", signature)
    node = ast.parse(signature + ": ...").body[0]
    for defaults in (node.args.defaults, node.args.kw_defaults):
        for i, default in enumerate(defaults):
            if default is not None:
                value = values[default.args[0].value]
                defaults[i] = ast.Constant(tuple(value) if isinstance(value, list) else value)
    return arguments(node)


class Stub(unittest.TestCase):
    def test_names(self):
        stubbed = {n.name for n in STUB.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        stubbed |= {n.target.id for n in STUB.body if isinstance(n, ast.AnnAssign)}
        stubbed = {n for n in stubbed if not n.startswith("_") or n == "__version__"}
        real = {n for n in vars(_core) if not n.startswith("_")} | {"__version__"}
        self.assertEqual(stubbed, real)
        self.assertEqual(stubbed, set(doublep.__all__))
        for name in doublep.__all__:
            self.assertIs(getattr(doublep, name), getattr(_core, name))

    def test_functions(self):
        functions = [n for n in STUB.body if isinstance(n, ast.FunctionDef)]
        self.assertGreater(len(functions), 5)
        for node in functions:
            self.assertEqual(arguments(node), real_arguments(getattr(_core, node.name)), node.name)

    def test_classes(self):
        classes = [n for n in STUB.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")
                   and n.name != "InputError"]
        self.assertEqual(len(classes), 5)
        for node in classes:
            real = getattr(_core, node.name)
            members = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
            shown = {n for n in vars(real) if not n.startswith("_")}
            self.assertEqual(set(members) - {"__init__"}, shown, node.name)
            for name, member in members.items():
                where = f"{node.name}.{name}"
                if member.decorator_list:
                    self.assertIsInstance(vars(real)[name], property, where)
                else:
                    self.assertEqual(arguments(member), real_arguments(getattr(real, name)), where)

    def test_everything_says_what_it_is(self):
        for name in doublep.__all__:
            thing = getattr(doublep, name)
            if callable(thing):
                self.assertTrue(inspect.getdoc(thing), name)
            if isinstance(thing, type) and thing is not doublep.InputError:
                for member, value in vars(thing).items():
                    if not member.startswith("_"):
                        self.assertTrue(value.__doc__, f"{name}.{member}")

    def test_what_wants_torch_has_types_and_words_too(self):
        """Read, not imported: torch may not be here."""
        for module, least in (("hf", 2), ("closed_loop", 2)):
            body = ast.parse(Path(doublep.__file__).with_name(f"{module}.py").read_text()).body
            named = [n for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")]
            self.assertGreater(len(named), least)
            for thing in named:
                members = [n for n in getattr(thing, "body", ()) if isinstance(n, ast.FunctionDef)
                           and not n.name.startswith("_")] if isinstance(thing, ast.ClassDef) else [thing]
                for node in {thing, *members}:
                    self.assertTrue(ast.get_docstring(node), f"{module}.{node.name}")
                for function in members:
                    given = function.args
                    every = [*given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
                    bare = [a.arg for a in every if a.annotation is None and a.arg != "self"]
                    self.assertEqual(bare, [], f"{module}.{function.name}")
                    self.assertIsNotNone(function.returns, f"{module}.{function.name}")

    def test_it_is_marked_as_typed(self):
        self.assertTrue(Path(doublep.__file__).with_name("py.typed").exists())


class Policies(unittest.TestCase):
    def test_they_are_the_programs(self):
        shown = subprocess.run([sys.executable, "-m", "doublep", "policies"], capture_output=True,
                               text=True, check=True).stdout
        policies = doublep.policies()
        self.assertEqual(list(policies), re.findall(r"^(\w+)$", shown, re.MULTILINE))
        parameters = re.findall(r"^    (\w+) +(flag|integer|real|budget|choice) +(\S+)", shown,
                                re.MULTILINE)
        found = [(name, p["type"], p["default"]) for policy in policies.values()
                 for name, p in policy["parameters"].items()]
        self.assertEqual([p[:2] for p in found], [p[:2] for p in parameters])
        for (name, kind, default), (_, _, text) in zip(found, parameters):
            expected = {"true": True, "false": False}.get(text, text)
            self.assertEqual(default, type(default)(expected), name)
            if kind in ("flag", "integer", "real", "choice"):
                self.assertIs(type(default), dict(flag=bool, integer=int, real=float,
                                                  choice=str)[kind], name)
        self.assertIn("variants", policies["double_p"])
        self.assertEqual(policies["quest"]["parameters"]["page_size"],
                         {"type": "integer", "default": 16, "range": "at least 1",
                          "meaning": "tokens a page"})

    def test_every_policy_takes_its_own_defaults_and_variants(self):
        for name, policy in doublep.policies().items():
            defaults = {k: p["default"] for k, p in policy["parameters"].items()}
            self.assertEqual(doublep.Decoder(name, **defaults).parameters, defaults)
            for variant, one in policy["variants"].items():
                found = doublep.Decoder(name, variant=variant).parameters
                self.assertEqual(found, {**defaults, **one["parameters"]})

    def test_no_parameter_is_called_as_an_argument(self):
        taken = {name for function in (doublep.Decoder.__init__, doublep.replay)
                 for name, _ in real_arguments(function)[0]}
        for name, policy in doublep.policies().items():
            self.assertFalse(taken & set(policy["parameters"]), name)


class Program(unittest.TestCase):
    def run_module(self, *words):
        return subprocess.run([sys.executable, "-m", "doublep", *words], capture_output=True,
                              text=True)

    def test_it_is_the_program(self):
        self.assertIn("doublep, commit", self.run_module("--version").stdout)
        refused = self.run_module("polices")
        self.assertEqual((refused.returncode, refused.stdout), (2, ""))
        self.assertIn("no command 'polices'", refused.stderr)

    def test_version(self):
        text = Path(ROOT, "CMakeLists.txt").read_text()
        self.assertEqual(doublep.__version__, re.search(r"project\(doublep VERSION (\S+)", text)[1])
        if INSTALLED:
            self.assertEqual(importlib.metadata.version("doublep"), doublep.__version__)


class Wheel(unittest.TestCase):
    @unittest.skipUnless(INSTALLED, "a build's package, not a wheel's")
    def test_which_pythons_it_is_for(self):
        """3.11 has no stable ABI that would do: it gets a module of its own, later ones share one."""
        text = importlib.metadata.distribution("doublep").read_text("WHEEL")
        own = "cp{}{}".format(*sys.version_info[:2])
        interpreter = "cp312-abi3" if sys.version_info >= (3, 12) else f"{own}-{own}"
        self.assertRegex(text, rf"(?m)^Tag: {interpreter}-(linux|manylinux)")
        self.assertEqual(Path(_core.__file__).name.endswith(".abi3.so"), sys.version_info >= (3, 12))


class Readme(unittest.TestCase):
    def test_its_example_runs(self):
        text = Path(ROOT, "README.md").read_text()
        code = re.search(r"```python\n(import doublep\n.*?)```", text, re.DOTALL)[1]
        layer, out = Layer(tokens=900), io.StringIO()
        code = code.replace('"data/', f'"{ROOT}/data/')
        with contextlib.redirect_stdout(out):
            exec(code, {"k": layer.k, "v": layer.v, "q": layer.q, "n": 800})
        self.assertIn("(8, 32)", out.getvalue())
        self.assertIn("(2, 8192, 128)", out.getvalue())


if __name__ == "__main__":
    unittest.main()
