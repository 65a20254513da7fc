"""Documentation of libraries that do not exist, from a seed: text in which planted numbers are
looked for. Every section is one class or function with its own shape; none repeats."""
import random

THINGS = ("broker batch cursor ledger packet replica schema session shard snapshot stream ticket "
          "token tracer watcher worker lease journal quota beacon voucher manifest anchor "
          "segment gauge relay bundle digest cohort palette raster contour spindle").split()
ACTIONS = ("accept align append archive balance bind collect commit compact compare detach drain "
           "encode expand fetch flush freeze import index inspect merge migrate notify parse "
           "probe prune rebuild reconcile release rename replay resolve rotate sample "
           "seal split stage stream throttle trim unpack validate verify").split()
PLACES = ("amber basalt cedar cobalt delta ember fjord garnet harbor indigo juniper kelp lagoon "
          "marble nimbus orchid pewter quartz raven sierra tundra umber violet willow").split()
KINDS = ("int", "float", "str", "bytes", "bool", "Path", "list[str]", "dict[str, int]",
         "datetime | None", "Callable[[int], bool]", "Iterator[Row]", "timedelta")
UNITS = ("milliseconds", "bytes", "rows", "attempts", "pages", "seconds", "connections", "KiB")
EFFECTS = ("is checked once, when the {thing} is opened", "may change while a {thing} is in use",
           "counts towards the quota of the {place} pool", "is ignored by {other}.{action}()",
           "is rounded up to a multiple of the {thing} size", "must outlive every {thing}",
           "is inherited by nested {thing}s unless they name their own",
           "takes precedence over the environment", "is kept in the {thing}'s header")
ADVICE = ("Prefer {other}.{action}() where the {thing} is shared between threads.",
          "Calling it twice is harmless; the second call returns the same {thing}.",
          "Nothing is written before the first {action}().",
          "On failure the {thing} is left as it was and may be used again.",
          "This was slower before version {version}, which scanned every {thing}.",
          "The order of {thing}s is that of their creation, not of their names.",
          "Unlike {other}, a {thing} holds no lock between calls.",
          "Beware of {place} deployments: their clocks may run behind by some {unit}.",
          "Large {thing}s are better handed over in pieces; see {other}.",
          "It is safe to {action} while another {thing} is being drained.")
ERRORS = ("TimeoutError: the {thing} did not answer in time.",
          "ValueError: the {thing} belongs to a pool other than {place}.",
          "PermissionError: the {thing} was opened for reading.",
          "KeyError: there is no {thing} of that name.",
          "OverflowError: more {unit} than a {thing} can hold.")


class Writer:
    def __init__(self, seed):
        self.random, self.used = random.Random(seed), set()

    def pick(self, of):
        return self.random.choice(of)

    def name(self):
        """A class's qualified name that has not been used."""
        while True:
            module, thing, action = self.pick(PLACES), self.pick(THINGS), self.pick(ACTIONS)
            name = f"{module}.{thing}.{action.title()}{self.pick(THINGS).title()}"
            if name not in self.used:
                self.used.add(name)
                return name

    def fill(self, pattern):
        return pattern.format(
            thing=self.pick(THINGS), place=self.pick(PLACES), action=self.pick(ACTIONS),
            unit=self.pick(UNITS),
            other=self.pick(THINGS).title() + self.pick(("Pool", "Reader", "View", "Guard", "Set")),
            version=f"{self.random.randint(1, 9)}.{self.random.randint(0, 30)}")

    def parameter(self):
        name = f"{self.pick(ACTIONS)}_{self.pick(THINGS)}"
        kind = self.pick(KINDS)
        default = {"int": self.random.randint(0, 4096), "bool": self.pick(("True", "False")),
                   "float": round(self.random.uniform(0, 10), 2)}.get(kind)
        if kind in ("int", "float"):
            what = self.pick(("how many", "the number of", "at most so many")), self.pick(UNITS)
        else:
            what = self.pick(("the", "which", "the optional")), self.pick(THINGS)
        return (f"    {name} ({kind}{'' if default is None else f', default {default}'}): "
                f"{' '.join(what)} to {self.pick(ACTIONS)}; {self.fill(self.pick(EFFECTS))}.")

    def section(self):
        name = self.name()
        lines = [f"### {name}", "", self.fill("{advice}".format(
            advice=f"{self.pick(ACTIONS).title()}s one {{thing}} of the {{place}} pool and "
                   f"{self.pick(ACTIONS)}s what is left of it. ") + self.pick(ADVICE)), ""]
        lines.append("Parameters:")
        for _ in range(self.random.randint(1, 4)):
            lines.append(self.parameter())
        if self.random.random() < 0.6:
            lines += ["", "Raises:"] + ["    " + self.fill(self.pick(ERRORS))
                                        for _ in range(self.random.randint(1, 2))]
        if self.random.random() < 0.5:
            variable, method = self.pick(THINGS), self.pick(ACTIONS)
            lines += ["", "Example:", f"    with {name}({self.random.randint(1, 999)}) as "
                      f"{variable}:", f"        {variable}.{method}(\"{self.pick(PLACES)}-"
                      f"{self.random.randint(100, 999)}\")"]
        if self.random.random() < 0.5:
            lines += ["", self.fill(self.pick(ADVICE))]
        return "\n".join(lines) + "\n"

    def fact(self):
        """(sentence, what is asked, the number)"""
        owner, number = self.name(), self.random.randint(10000, 99999)
        unit = self.pick(UNITS)
        return (f"Note: the hard limit of {owner} is {number} {unit}.\n",
                f"the hard limit of {owner}", number)
