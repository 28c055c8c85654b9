"""The progress bar, on a pseudo-terminal."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
import time
from contextlib import contextmanager, redirect_stderr

from aenet_ros.core.progress import ProgressBar

WAIT_S = 60


@contextmanager
def on_terminal():
    """What is drawn on stderr meanwhile, as a function. Not a fixture: pytest sets stderr again before the test."""
    main, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    drawn = bytearray()

    def read():
        while True:
            try:
                drawn.extend(os.read(main, 4096))
            except OSError:  # closed
                return

    threading.Thread(target=read, daemon=True).start()
    with os.fdopen(end, "w") as stream, redirect_stderr(stream):
        yield lambda: drawn.decode(errors="replace")
    os.close(main)


def wait_for(condition):
    give_up = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_it_moves_while_nothing_is_completed():
    with on_terminal() as terminal, ProgressBar("loading", "pair", 10):
        wait_for(lambda: "00:01<" in terminal())
        wait_for(lambda: "00:02<" in terminal())


def test_loading_and_the_first_item_do_not_count_for_the_remaining_time():
    with on_terminal() as terminal, ProgressBar("fusing", "pair", 1000) as bar:
        time.sleep(3.0)
        bar.step()  # without this rule each of 1000 items would take 3 s
        for _ in range(9):
            bar.step()
        bar.describe("fused")
        wait_for(lambda: "fused" in terminal())
        drawn = terminal()[terminal().index("fused") :]
    remaining = re.search(r"10/1000 \[\d+:\d+<(\d+):(\d+)", drawn)
    assert remaining, drawn
    assert int(remaining[1]) * 60 + int(remaining[2]) < 300


def test_skipped_items_say_nothing_of_the_others():
    with on_terminal() as terminal, ProgressBar("fusing", "pair", 100) as bar:
        for _ in range(50):
            bar.step(timed=False)
        wait_for(lambda: re.search(r"50/100 \[\d+:\d+<\?", terminal()))


def test_it_is_hidden_where_stderr_is_no_terminal(capsys):
    with ProgressBar("fusing", "pair", 3) as bar:
        assert bar.hidden
        assert list(bar.follow("abc")) == ["a", "b", "c"]
        bar.describe("done", loss="1")
        with bar.aside():
            sys.stderr.write("a line\n")
    assert capsys.readouterr().err == "a line\n"
