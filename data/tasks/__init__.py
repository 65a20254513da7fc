"""Questions over long texts whose answers a program knows: made from a seed, of any length, from nothing
that would have to be fetched.

`make("niah_multikey_2", seed=0, tokens=8192, count=...)` is the longest question of that task that has at
most so many tokens. `solved(question, answer)` says whether an answer holds all that was asked for.
"""
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """`prompt`: what is asked, with the text. `prefix`: how the answer begins, for the model to go on from.
    `answers`: what it has to hold, every one. `answer_tokens`: enough for them."""
    task: str
    prompt: str
    prefix: str
    answers: tuple
    answer_tokens: int

    @property
    def text(self):
        return self.prompt + self.prefix


class TaskError(ValueError):
    pass


def longest(make, tokens, count, low=1):
    """The longest of make(low), make(low + 1), ... that has at most so many tokens by count(text); they
    grow. make(size) returns anything with a `text`."""
    if count(make(low).text) > tokens:
        raise TaskError(f"the shortest has more than {tokens} tokens; ask for more")
    high = low * 2
    while count(make(high).text) <= tokens:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(make(middle).text) <= tokens else (low, middle)
    return make(low)


def make(task, seed, tokens, count):
    """The longest Question of the task that fits; the same for the same seed."""
    if task not in TASKS:
        raise TaskError(f"no task '{task}'; expected one of {', '.join(TASKS)}")
    try:
        return longest(lambda size: TASKS[task](task, random.Random(f"{task} {seed}"), size), tokens, count)
    except TaskError as error:
        raise TaskError(f"{task}: {error}")


@dataclass(frozen=True)
class Text:
    text: str


def held_out(seed, tokens, count):
    """The longest text of at most so many tokens that no model was trained on: this repository's own C++, which
    begins at a file that the seed chooses."""
    return longest(lambda lines: Text(code.sources(random.Random(f"held out {seed}"), lines)[0]), tokens, count,
                   10).text


def score(question, answer):
    """The share of the answers that stand somewhere in the text, in whatever case: RULER's measure."""
    found = answer.lower()
    return sum(one.lower() in found for one in question.answers) / len(question.answers)


def solved(question, answer):
    return score(question, answer) == 1


from . import code, ruler  # noqa: E402  they make Questions

TASKS = ruler.TASKS | code.TASKS
