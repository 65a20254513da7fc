"""What doublep.closed_loop measures, against logits of the same random models that it did not compute."""

import unittest

import numpy as np
from test_hf import CLOSE, forced, prompt, tiny  # skips where PyTorch or transformers is not installed

import doublep
import doublep.closed_loop
import doublep.hf

SPARSE = dict(sink=2, window=6)


def log_softmax(logits):
    logits = logits.astype(np.float64)
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


class Case(unittest.TestCase):
    def setUp(self):
        doublep.hf.register("dense", name="doublep")
        doublep.hf.register("streaming", name="doublep_window", **SPARSE)
        self.ids = prompt(90)
        self.model = tiny.make("llama", "sdpa")
        self.filled = doublep.closed_loop.Filled(self.model, self.ids[0, :70].tolist(), chunk=32)
        self.following = self.ids[0, 70:].tolist()

    def logits(self, attention):
        """[tokens after the first that follow the prompt, vocabulary], in one model of its own."""
        return forced(tiny.make("llama", attention), self.ids, 70)[0, 1:-1]


class Agreement(Case):
    def test_dense_agrees(self):
        rows = doublep.closed_loop.agreement(self.filled, self.following, ["doublep"])["doublep"]
        self.assertEqual(len(rows), 19)
        self.assertTrue(rows["same_top"].all())
        np.testing.assert_allclose(rows["kl"], 0, atol=1e-6)
        np.testing.assert_allclose(rows["nll"], rows["reference_nll"], atol=1e-4)

    def test_a_policy_is_as_far_as_its_logits_say(self):
        rows = doublep.closed_loop.agreement(self.filled, self.following, ["doublep_window"])["doublep_window"]
        dense, here = log_softmax(self.logits("sdpa")), log_softmax(self.logits("doublep_window"))
        at = np.arange(19), self.following[1:]
        np.testing.assert_allclose(rows["kl"], (np.exp(dense) * (dense - here)).sum(1), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(rows["nll"], -here[at], **CLOSE)
        np.testing.assert_allclose(rows["reference_nll"], -dense[at], **CLOSE)
        np.testing.assert_array_equal(rows["same_top"], dense.argmax(1) == here.argmax(1))
        self.assertGreater(rows["kl"].mean(), 1e-3)
        self.assertFalse(rows["same_top"].all())

    def test_one_policy_leaves_no_trace_in_the_next(self):
        for name in ("doublep", "doublep_window"):  # an index in the metric of the prompt's queries
            doublep.hf.register("double_p", name=f"{name}_index", variant="best", tokens_per_cluster=4, **SPARSE)
        names = ["doublep_window", "doublep_index", "doublep", "doublep_window_index"]
        rows = doublep.closed_loop.agreement(self.filled, self.following, names)
        again = doublep.closed_loop.agreement(self.filled, self.following, names[::-1])
        for name in names:
            np.testing.assert_array_equal(rows[name], again[name])
        np.testing.assert_array_equal(rows["doublep_index"], rows["doublep_window_index"])
        expected = log_softmax(self.logits("doublep_index"))[np.arange(19), self.following[1:]]
        np.testing.assert_allclose(rows["doublep_index"]["nll"], -expected, **CLOSE)


class Answers(Case):
    def test_they_are_those_of_generate(self):
        for attention in ("sdpa", "doublep_window"):
            model = tiny.make("llama", attention)
            expected = model.generate(self.ids[:, :70], max_new_tokens=12, do_sample=False, pad_token_id=0)
            found = self.filled.answer(attention, ends=(), most=12)
            tokens = expected[0, 70:].tolist()
            self.assertEqual((found.tokens, found.end, found.ids), (tokens, None, tokens))
            np.testing.assert_array_equal(found.predicted, self.filled.forced(attention, tokens))
            end = tokens[5]
            short = self.filled.answer(attention, {end}, 12)
            before = tokens[:tokens.index(end)]
            self.assertEqual((short.tokens, short.end, short.ids), (before, end, before + [end]))
            self.assertEqual(len(short.predicted), len(before))

    def test_log_probabilities_of_an_answer_stand_for_its_attention(self):
        answer = self.filled.answer("sdpa", (), 12)
        by_name = doublep.closed_loop.agreement(self.filled, answer.ids, ["doublep_window"])
        by_value = doublep.closed_loop.agreement(self.filled, answer.ids, ["doublep_window"], answer.predicted)
        np.testing.assert_array_equal(by_name["doublep_window"], by_value["doublep_window"])

    def test_an_answer_of_one_token_has_no_predictions(self):
        answer = self.filled.answer("doublep", (), 1)
        self.assertEqual((len(answer.tokens), tuple(answer.predicted.shape)), (1, (0, tiny.VOCABULARY)))

    def test_no_token_is_decoded_for_nothing(self):
        decoding = doublep.hf.register("dense", name="doublep")
        self.filled.answer("doublep", (), 7)
        self.assertEqual(decoding.counts["steps"].tolist(), [6, 6, 6])

    def test_the_model_keeps_its_attention(self):
        self.filled.answer("doublep_window", (), 2)
        self.assertEqual(self.model.config._attn_implementation, "sdpa")

        def fail(logits):
            raise KeyError

        with self.assertRaises(KeyError):
            self.filled.decode("doublep_window", fail)
        self.assertEqual(self.model.config._attn_implementation, "sdpa")


class Refusals(Case):
    def test_too_few_tokens(self):
        with self.assertRaisesRegex(doublep.InputError, "a prompt of 1 tokens; expected 2 at least"):
            doublep.closed_loop.Filled(self.model, [3])
        with self.assertRaisesRegex(doublep.InputError, "1 tokens follow the prompt; expected 2"):
            doublep.closed_loop.agreement(self.filled, [3], ["doublep"])


if __name__ == "__main__":
    unittest.main()
