"""Python goes on while a call computes; calls from several threads, forks and Control-C are safe."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import unittest

import numpy as np
from support import NEEDLE, Layer, dense

import doublep


def seen_meanwhile(call):
    """How often this thread ran in the middle of a call in another one."""
    span, stamps = [], []

    def work():
        span.append(time.perf_counter())
        call()
        span.append(time.perf_counter())

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        stamps.append(time.perf_counter())
        time.sleep(0.0005)
    thread.join()
    begin, end = span
    edge = (end - begin) / 10
    return sum(begin + edge < stamp < end - edge for stamp in stamps)


class Lock(unittest.TestCase):
    def goes_on(self, call):
        # Never, however often it is tried, where the call keeps the lock; a busy machine may give
        # this thread no time at the first try.
        self.assertTrue(any(seen_meanwhile(call) > 2 for _ in range(5)))

    def test_calls_of_a_decoder(self):
        layer = Layer(tokens=20000, kv_heads=4, heads=64, head_dim=64)
        decoder = doublep.Decoder("double_p", recluster_every=1)
        self.goes_on(lambda: decoder.prefill(layer.k[:, :-10], layer.v[:, :-10]))
        at = iter(range(19990, 20000))

        def append():
            i = next(at)
            decoder.append(layer.k[:, i:i + 1], layer.v[:, i:i + 1])

        self.goes_on(append)
        full = doublep.Decoder("dense")
        full.prefill(layer.k, layer.v)
        self.goes_on(lambda: full.step(layer.q))

    def test_traces_and_replay(self):
        self.goes_on(lambda: doublep.Trace(NEEDLE))
        trace = doublep.Trace(NEEDLE)
        self.goes_on(lambda: trace.layer(4))
        self.goes_on(lambda: doublep.replay(trace, "dense", layers=[4], max_steps=8))


class Threads(unittest.TestCase):
    def test_several_decoders_and_one_that_is_shared(self):
        layer = Layer(tokens=2000)
        expected, _ = dense(layer.k, layer.v, layer.q)
        shared = doublep.Decoder("dense")
        shared.prefill(layer.k, layer.v)
        wrong = []

        def work(seed):
            own = Layer(tokens=500 + seed, seed=seed)
            decoder = doublep.Decoder("dense")
            for _ in range(20):
                decoder.prefill(own.k[:, :400].copy(), own.v[:, :400].copy())
                decoder.append(own.k[:, 400:].copy(), own.v[:, 400:].copy())
                for one, output in ((decoder, dense(own.k, own.v, own.q)[0]), (shared, expected)):
                    query = own.q if one is decoder else layer.q
                    if np.abs(one.step(query).output - output).max() > 1e-5:
                        wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_their_number_changes_no_result(self):
        layer = Layer(tokens=3000)
        before, outputs = doublep.num_threads(), []
        self.addCleanup(doublep.set_num_threads, before)
        for threads in (1, 3):
            doublep.set_num_threads(threads)
            self.assertEqual(doublep.num_threads(), threads)
            decoder = doublep.Decoder("double_p")
            decoder.prefill(layer.k, layer.v)
            outputs.append(decoder.step(layer.q).output)
        np.testing.assert_array_equal(*outputs)

    def test_a_forked_child_decodes(self):
        layer = Layer()
        decoder = doublep.Decoder("double_p")
        decoder.prefill(layer.k, layer.v)
        expected = decoder.step(layer.q).output

        def child():
            signal.alarm(60)  # instead of waiting for ever
            again = doublep.Decoder("double_p")
            again.prefill(layer.k, layer.v)
            ok = np.array_equal(again.step(layer.q).output, expected)
            os._exit(0 if ok and doublep.num_threads() == threads else 1)

        threads = doublep.num_threads()
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        self.assertEqual(process.exitcode, 0)

    def test_control_c_stops_a_replay(self):
        code = textwrap.dedent(f"""
            import os, signal, threading, time
            import doublep
            # A shell lets what it runs in the background ignore it.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            trace = doublep.Trace({NEEDLE!r})
            def interrupt():
                os.kill(os.getpid(), signal.SIGINT)
            threading.Timer(0.2, interrupt).start()
            try:
                for _ in range(200):
                    began = time.monotonic()
                    doublep.replay(trace, "oracle_top_p", p=0.99)
            except KeyboardInterrupt:
                print("stopped")
            print(len(doublep.replay(trace, "dense", layers=[4], max_steps=1).rows))
        """)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              timeout=300)
        self.assertEqual(done.stdout, "stopped\n8\n", done.stderr)


if __name__ == "__main__":
    unittest.main()
