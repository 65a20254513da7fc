"""RULER's families (Hsieh et al., arXiv 2404.06654, appendix B: its prompts, counts and lengths of keys and
values): needles, variable tracking, common and frequent words. What it fetches is made here instead: the
essays are documentation of libraries that do not exist, words are pairs of that documentation's.
"""
import string
import uuid

from recorder.documentation import ACTIONS, PLACES, THINGS, Writer

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
_PARTS = sorted({*PLACES, *THINGS, *ACTIONS})
WORDS = [f"{one}-{other}" for one in _PARTS for other in _PARTS if one != other]  # some nine thousand

NEEDLE = "One of the special magic {kind} for {key} is: {value}."
ONE = ("A special magic {kind} is hidden within the following text. Make sure to memorize it. I will quiz you "
       "about the {kind} afterwards.\n{context}\nWhat is the special magic {kind} for {query} mentioned in the "
       "provided text?", " The special magic {kind} for {query} mentioned in the provided text is")
SEVERAL = ("Some special magic {kind}s are hidden within the following text. Make sure to memorize it. I will "
           "quiz you about the {kind}s afterwards.\n{context}\nWhat are all the special magic {kind}s for "
           "{query} mentioned in the provided text?",
           " The special magic {kind}s for {query} mentioned in the provided text are")
TRACKING = ("Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\n"
            "Question: Find all variables that are assigned the value {query} in the text above.",
            " Answer: According to the chain(s) of variable assignment in the text above, {count} variables are "
            "assigned the value {query}, they are: ")
COMMON = ("Below is a numbered list of words. In these words, some appear more often than others. Memorize the "
          "ones that appear most often.\n{context}\nQuestion: What are the {count} most common words in the "
          "above list?", " Answer: The top {count} words that appear most often in the list are:")
FREQUENT = ("Read the following coded text and track the frequency of each coded word. Find the three most "
            "frequently appeared coded words. {context}\nQuestion: Do not provide any explanation. Please ignore "
            "the dots '....'. What are the three most frequently appeared words in the above coded text?",
            " Answer: According to the coded text above, the three most frequently appeared words are:")
HOPS = 4
COMMON_WORDS, COMMON_TIMES, OTHER_TIMES = 10, 30, 3
ALPHA, CODED_LENGTH = 2.0, 6


def question(task, pattern, answers, answer_tokens, **filled):
    from . import Question
    prompt, prefix = (part.format(**filled) for part in pattern)
    return Question(task, prompt, prefix, tuple(answers), answer_tokens)


def number(draw):
    return str(draw.randint(10**6, 10**7 - 1))


def code(draw):
    return str(uuid.UUID(int=draw.getrandbits(128), version=4))


def distinct(count, make_one):
    """So many that differ; there have to be many more."""
    found = {}
    while len(found) < count:
        found[make_one()] = None
    return list(found)


def some_words(draw, count):
    """So many of WORDS, none twice."""
    if count > len(WORDS):
        from . import TaskError
        raise TaskError(f"there are {len(WORDS)} words, too few for so long a text; ask for fewer tokens")
    return draw.sample(WORDS, count)


def spread(draw, lines, among, ordered=False):
    """The lines put between those of `among`, at random places."""
    places = sorted(draw.randint(0, len(among)) for _ in lines)
    if not ordered:
        draw.shuffle(places)
    put = {}
    for place, line in zip(places, lines):
        put.setdefault(place, []).append(line)
    whole = []
    for i in range(len(among) + 1):
        whole += put.get(i, []) + among[i:i + 1]
    return whole


def needles(haystack, keys=1, values=1, queries=1, key_of="word", value_of="number"):
    """`keys` of them are hidden, each with so many values; `queries` of them are asked for. `haystack`: noise,
    text, or needle: more such lines."""
    draws = {"word": lambda draw: draw.choice(WORDS), "number": number, "uuid": code}

    def build(task, draw, size):
        kind = value_of
        # All that is hidden is drawn before the haystack, so that it is the same at every length.
        names = distinct(max(keys, queries), lambda: draws[key_of](draw))
        held = {name: distinct(values, lambda: draws[kind](draw)) for name in names}
        seed = draw.random()
        lines = [NEEDLE.format(kind=kind + "s", key=name, value=value) for name in names
                 for value in held[name]]
        draw.shuffle(lines)
        asked = draw.sample(names, queries)
        if haystack == "noise":
            hay = [NOISE] * size
        elif haystack == "text":
            writer = Writer(seed)
            hay = [writer.section() for _ in range(size)]
        else:
            others = some_words(draw, size + len(names)) if key_of == "word" else distinct(
                size + len(names), lambda: draws[key_of](draw))
            hay = [NEEDLE.format(kind=kind + "s", key=other, value=draws[kind](draw)) for other in others
                   if other not in held][:size]
        answers = [value for name in asked for value in held[name]]
        query = ", ".join(asked[:-1]) + (", and " if queries > 1 else "") + asked[-1]
        return question(task, SEVERAL if len(answers) > 1 else ONE, answers, 128, kind=kind,
                        context="\n".join(spread(draw, lines, hay)), query=query)
    return build


def variable_tracking(task, draw, size):
    """A chain of HOPS assignments from a value on, in noise."""
    names = distinct(HOPS + 1, lambda: "".join(draw.choices(string.ascii_uppercase, k=5)))
    value = str(draw.randint(10000, 99999))
    lines = [f"VAR {names[0]} = {value}"]
    lines += [f"VAR {name} = VAR {before} " for before, name in zip(names, names[1:])]
    context = "\n".join(spread(draw, lines, [NOISE] * size, ordered=True))
    return question(task, TRACKING, names, 30, context=context, query=value, count=len(names))


def common_words(task, draw, size):
    """COMMON_WORDS words COMMON_TIMES times each, among `size` others OTHER_TIMES times each."""
    drawn = some_words(draw, COMMON_WORDS + size)
    words, others = drawn[:COMMON_WORDS], drawn[COMMON_WORDS:]
    everything = words * COMMON_TIMES + others * OTHER_TIMES
    draw.shuffle(everything)
    context = " ".join(f"{i}. {word}" for i, word in enumerate(everything, 1))
    return question(task, COMMON, words, 120, context=context, count=COMMON_WORDS)


def frequent_words(task, draw, size):
    """Coded words, the k-th of them in a share k^-ALPHA / zeta(ALPHA) of 64 * size; the first is dots."""
    zeta = 1.6449340668482264  # of ALPHA
    total = 64 * size
    times = [int(total * k**-ALPHA / zeta) for k in range(1, total + 1)]
    times = [n for n in times if n > 0]
    words = ["...."] + distinct(len(times) + 2, lambda: "".join(
        draw.choices(string.ascii_lowercase, k=CODED_LENGTH)))
    everything = [word for word, n in zip(words, times) for _ in range(n)]
    draw.shuffle(everything)
    return question(task, FREQUENT, words[1:4], 50, context=" ".join(everything))


TASKS = {
    "niah_single_1": needles("noise"),
    "niah_single_2": needles("text"),
    "niah_single_3": needles("text", value_of="uuid"),
    "niah_multikey_1": needles("text", keys=4),
    "niah_multikey_2": needles("needle"),
    "niah_multikey_3": needles("needle", key_of="uuid", value_of="uuid"),
    "niah_multivalue": needles("text", values=4),
    "niah_multiquery": needles("text", queries=4),
    "vt": variable_tracking,
    "cwe": common_words,
    "fwe": frequent_words,
}
