#!/usr/bin/env python3
"""Does the model still answer? Models x tasks x lengths x policies in the loop, and a table of it.

  python3 experiments/accuracy.py configs/accuracy.yaml --output results/accuracy.jsonl

Wants the package doublep, torch, transformers and PyYAML. A line of the output is one question under one policy;
interrupted, the same command continues. The table goes to standard output. Several processes share the work with
--shard 1/4 ... 4/4 and outputs of their own, first with `--ask reference`, then with `--ask counted --also` and what
the first wrote; `--table-only --also FILE ...` is the table of all.
"""
import argparse
import json
import math
import os
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [ROOT, os.path.join(ROOT, "data")]

import tasks
from analysis.answers import HELD_OUT, REFERENCE, counts, header, key, table
from recorder.encoding import RecordError

KEYS = {"name", "models", "tasks", "held_out_tokens", "lengths", "questions", "seed", "answer_tokens", "policies"}


class AccuracyError(ValueError):
    pass


def load_config(path):
    import yaml
    try:
        with open(path, encoding="utf-8") as file:
            config = yaml.safe_load(file)
    except (OSError, yaml.YAMLError) as error:
        raise AccuracyError(f"{path}: cannot be read ({' '.join(str(error).split())})")
    if not isinstance(config, dict) or set(config) != KEYS:
        raise AccuracyError(f"{path}: expected exactly the keys {', '.join(sorted(KEYS))}")
    for key, needs in (("models", {"name", "path"}), ("policies", {"name", "policy"})):
        names = [entry.get("name") for entry in config[key] if isinstance(entry, dict)]
        if len(names) != len(config[key]) or any(not needs <= set(entry) for entry in config[key]):
            raise AccuracyError(f"{path}: {key}: expected entries with {' and '.join(sorted(needs))}")
        if len(set(names)) < len(names) or REFERENCE in names:
            raise AccuracyError(f"{path}: {key}: names have to differ, and '{REFERENCE}' is taken")
    if type(config["held_out_tokens"]) is not int or config["held_out_tokens"] not in (0, *range(2, 4097)):
        raise AccuracyError(f"{path}: held_out_tokens: expected 0, or 2 to 4096")
    for task in config["tasks"]:
        if task not in tasks.TASKS:
            raise AccuracyError(f"{path}: tasks: no task '{task}'; expected one of {', '.join(tasks.TASKS)}")
    return config


class Store:
    """Rows of a file of JSON lines; its first line, `header`, has to be the same. `rows` begins with those that other
    files hold already, `known`."""

    def __init__(self, path, header, read_only=False, known=()):
        self.rows, whole = [], 0
        if os.path.exists(path):
            with open(path, "rb") as file:
                lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
            try:
                found = [json.loads(line) for line in lines]
            except ValueError:
                raise AccuracyError(f"{path}: not a file of this program; name another --output")
            if found and found[0] != header:
                raise AccuracyError(f"{path}: written by another configuration; name another --output")
            self.rows, whole = found[1:], sum(map(len, lines))  # what a kill cut off is not a line
        self.rows = [*known, *self.rows]
        self.done = {key(row) for row in self.rows}
        if len(self.done) < len(self.rows):
            raise AccuracyError(f"{path}: a question is answered in two of the files; name each once")
        self.file = open(path, "rb" if read_only else "ab")
        if not read_only:
            self.file.truncate(whole)
            if not whole:
                self._write(header)

    def _write(self, what):
        self.file.write(json.dumps(what).encode() + b"\n")
        self.file.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def expect_ends(self, loaded):
        """Answers that end elsewhere are other answers, longer ones: they do not belong beside this model's."""
        ends = sorted(loaded.ends)
        for row in self.rows:
            if row["model"] == loaded.name and row.get("ends", ends) != ends:
                raise AccuracyError(f"{loaded.name}: its answers end at tokens {ends}, those in the file at {row['ends']}; "
                                    "ask the model that answered there, or name another --output")

    def add(self, row):
        self._write(row)
        self.rows.append(row)
        self.done.add(key(row))


class Loaded:
    """A model with its tokenizer."""

    def __init__(self, entry):
        from recorder import model as models
        source = models.find(entry["path"])
        loaded = models.load_config(source)
        dtype = models.choose_dtype(entry.get("dtype", "auto"), loaded, source)
        self.name, self.chat = entry["name"], entry.get("chat", False)
        self.chunk = entry.get("chunk", 1024)
        self.model = models.load_model(source, loaded, dtype, entry.get("device", "cpu"), "sdpa")
        self.tokenizer = models.load_tokenizer(source)
        if self.tokenizer is None or (self.chat and not self.tokenizer.chat_template):
            raise AccuracyError(f"{entry['path']}: comes without a {'chat template' if self.tokenizer else 'tokenizer'}; "
                                "no question can be asked")
        self.ends = models.end_tokens(self.model, self.tokenizer)
        # What stands around a question, and where its text is cut at the answer, in tokens.
        self.around = len(self.turn("")) + 2 if self.chat else 0

    def encode(self, text):
        return self.tokenizer(text)["input_ids"]

    def turn(self, text):
        return self.tokenizer.apply_chat_template([dict(role="user", content=text)], tokenize=True,
                                                  add_generation_prompt=True, return_dict=False)

    def asked(self, question):
        """Ids: the user's turn, and the answer as it begins; or all as one text to go on with."""
        if not self.chat:
            return self.encode(question.text)
        return self.turn(question.prompt) + self.tokenizer(question.prefix.lstrip(),
                                                           add_special_tokens=False)["input_ids"]

    def fill(self, ids):
        from doublep import closed_loop
        return closed_loop.Filled(self.model, ids, self.chunk)


class Cell:
    """The questions of one task at one length to one model. Of task HELD_OUT no answer is asked: what follows
    is the text's own next tokens."""

    def __init__(self, config, loaded, length, task):
        self.config, self.loaded, self.length, self.task = config, loaded, length, task

    def base(self, number, policy):
        return dict(model=self.loaded.name, task=self.task, length=self.length, question=number, policy=policy,
                    ends=sorted(self.loaded.ends))

    def ask(self, number):
        """(question, its ids); of HELD_OUT (the ids that follow, those before)."""
        seed, length, encode = self.config["seed"] + number, self.length, self.loaded.encode
        if self.task != HELD_OUT:
            question = tasks.make(self.task, seed, length - self.loaded.around, lambda text: len(encode(text)))
            return question, self.loaded.asked(question)
        following = self.config["held_out_tokens"]
        ids = encode(tasks.held_out(seed, length, lambda text: len(encode(text))))
        return ids[-following:], ids[:-following]

    def reference(self, question, filled):
        """(the row's figures, what policies are held against: ids and log-probabilities)."""
        if self.task == HELD_OUT:
            predicted = filled.forced("sdpa", question)
            nll = -predicted.gather(1, predicted.new_tensor(question[1:]).long()[:, None]).double().mean()
            return dict(answer_tokens=len(question), kl=0.0, same_top=1.0, nll=float(nll)), (question, predicted)
        answer = filled.answer("sdpa", self.loaded.ends, self.most(question))
        return self.graded(question, answer.tokens) | dict(kl=0.0, same_top=1.0), (answer, answer.predicted)

    def most(self, question):
        return min(question.answer_tokens, self.config["answer_tokens"])

    def graded(self, question, tokens):
        text = self.loaded.tokenizer.decode(tokens)
        return dict(answer_tokens=len(tokens), answer=text, solved=tasks.solved(question, text),
                    score=tasks.score(question, text))

    def under(self, name, decoding, question, filled, held_against):
        """The row's figures of a policy. Bytes are those of the tokens that both were made to say."""
        from doublep import closed_loop
        said, predicted = held_against
        ids = said if self.task == HELD_OUT else said.ids
        decoding.reset()
        rows = None
        if len(ids) > 1:  # of one token: it is the prompt's, none was decoded, nothing read
            rows = closed_loop.agreement(filled, ids, [name], predicted)[name]
        share, density = decoding.bytes_share, decoding.density
        found = dict(kl=None, same_top=None) if rows is None else dict(kl=float(rows["kl"].mean()),
                                                                      same_top=float(rows["same_top"].mean()))
        found |= dict(bytes_share=None if math.isnan(share) else share,
                      density=None if math.isnan(density) else density)
        if self.task == HELD_OUT:
            return found | dict(answer_tokens=len(ids), nll=float(rows["nll"].mean()))
        tokens = said.tokens
        # Where every token, and the end, is the policy's own first choice, this is its greedy answer.
        if rows is not None and not rows["same_top"].all():
            tokens = filled.answer(name, self.loaded.ends, self.most(question)).tokens
        return found | self.graded(question, tokens)

    def solvable(self, rows):
        """Does the reference solve the task? All its answers have to be there."""
        if self.task == HELD_OUT:
            return True
        answers = [row for row in rows if row["policy"] == REFERENCE and
                   (row["model"], row["task"], row["length"]) == (self.loaded.name, self.task, self.length)]
        if len(answers) < self.config["questions"]:
            raise AccuracyError(f"{self.loaded.name}, {self.task} of {self.length} tokens: {len(answers)} of "
                                f"{self.config['questions']} answers of the reference are known, and whether the task counts "
                                "is not; run every shard with --ask reference first, and name its outputs after --also")
        return counts(answers)

    def measure(self, number, policies, store, names, decodings):
        """One question under policies that have not answered it yet; False where all had."""
        left = [p for p in policies if key(self.base(number, p)) not in store.done]
        if not left:
            return False
        question, ids = self.ask(number)
        filled = self.loaded.fill(ids)
        figures, held_against = self.reference(question, filled)
        for policy in left:
            if policy != REFERENCE:
                figures = self.under(names[policy], decodings[policy], question, filled, held_against)
            else:
                figures = figures | dict(bytes_share=1.0, density=1.0)
            store.add(self.base(number, policy) | dict(prompt_tokens=len(ids)) | figures)
        return True


def all_tasks(config):
    return config["tasks"] + ([HELD_OUT] if config["held_out_tokens"] else [])


def measure(config, path, store, shard, ask, models):
    """`path`: of the configuration."""
    from doublep import hf
    names = {policy["name"]: f"doublep_{i}" for i, policy in enumerate(config["policies"])}
    decodings = {policy["name"]: hf.register(**policy | {"name": names[policy["name"]]})
                 for policy in config["policies"]}
    everyone = [REFERENCE, *names]
    stages = dict(all=[everyone], reference=[[REFERENCE]], counted=[[REFERENCE], everyone])[ask]
    # By question, then by task: a run that is cut short has asked all tasks alike.
    part = [(number, length, task) for number in range(config["questions"]) for length in config["lengths"]
            for task in all_tasks(config)][shard[0] - 1::shard[1]]
    for entry in config["models"]:
        if models and entry["name"] not in models:
            continue
        wanted = {(entry["name"], task, length, number, policy) for number, length, task in part
                  for policy in stages[-1]}
        if wanted <= store.done:
            continue
        loaded = Loaded(located(entry, path))
        store.expect_ends(loaded)
        for policies in stages:
            for number, length, task in part:
                cell = Cell(config, loaded, length, task)
                if len(stages) > 1 and policies is everyone and not cell.solvable(store.rows):
                    continue
                if cell.measure(number, policies, store, names, decodings):
                    tell(f"{entry['name']}, {length} tokens, {task}, question {number}")


def tell(line):
    print(line, file=sys.stderr, flush=True)


def located(entry, config):
    """A model's entry with its path as it is from here: in the file it is relative to that."""
    return entry | dict(path=os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(config)), entry["path"])))


def exit_code(program, work):
    """Of a program that asks models: what stops it is one line, and an interrupted one says that it continues."""
    try:
        from doublep import InputError
    except ImportError as error:
        tell(f"{program}: {error}; `pip install .` makes the package")
        return 2
    try:
        work()
    except (AccuracyError, InputError, RecordError, tasks.TaskError, OSError, ImportError) as error:
        tell(f"{program}: {error}")
        return 2
    except KeyboardInterrupt:
        tell(f"{program}: interrupted; the same command continues")
        return 130
    return 0


def part(text):
    one, _, of = text.partition("/")
    if not (one.isdecimal() and of.isdecimal() and 1 <= int(one) <= int(of)):
        raise argparse.ArgumentTypeError(f"expected I/N with 1 <= I <= N, not '{text}'")
    return int(one), int(of)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--output", required=True, metavar="FILE.jsonl")
    parser.add_argument("--table-only", action="store_true", help="of what the output holds already")
    parser.add_argument("--also", nargs="+", default=[], metavar="FILE.jsonl",
                        help="outputs of the same configuration: what they hold is not asked again, and joins the table")
    parser.add_argument("--model", nargs="+", default=[], metavar="NAME", help="of the configuration's; all without it")
    parser.add_argument("--shard", type=part, default=(1, 1), metavar="I/N",
                        help="every N-th question, from the I-th on")
    parser.add_argument("--ask", choices=["all", "reference", "counted"], default="all",
                        help="all: every policy every question; reference: the model as it is alone; counted: policies only "
                             "tasks that the reference solves (default: %(default)s)")
    options = parser.parse_args(arguments)

    def work():
        config = load_config(options.config)
        for name in options.model:
            if name not in [entry["name"] for entry in config["models"]]:
                raise AccuracyError(f"--model: {options.config} has no model '{name}'")
        known = []
        for path in options.also:
            if not os.path.isfile(path):
                raise AccuracyError(f"{path}: there is no such file")
            with Store(path, header(config), read_only=True, known=known) as other:
                known = other.rows
        with Store(options.output, header(config), known=known) as store:
            if not options.table_only:
                measure(config, options.config, store, options.shard, options.ask, options.model)
            rows = store.rows
        print(table(config, rows))

    return exit_code("accuracy.py", work)


if __name__ == "__main__":
    sys.exit(main())
