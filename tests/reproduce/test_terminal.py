"""What a user sees in a terminal of 80 columns: help, progress, no start-up noise, one line at Ctrl-C."""

import contextlib
import importlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from reproduce import cli, progress
from reproduce.configs import TABLE1_CELLS
from reproduce.gaussian.configs import LINES
from reproduce.progress import Display, Stages, clock, shortened
from reproduce.quiet import import_quietly

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = [path.stem for path in ROOT.glob("reproduce/*.py") if "make_parser(__doc__)" in path.read_text()]
NOISE = re.compile(r"\d{4} \d\d:\d\d:\d\d|absl|oneDNN|cuda|Warning|Traceback")


@contextlib.contextmanager
def terminal(monkeypatch):
    """The standard error is a terminal of 80 columns; gives what reads all that was written."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    with os.fdopen(theirs, "w", buffering=1) as written, monkeypatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "stderr", written)

        def read() -> str:
            written.flush()
            found = b""
            while True:
                try:
                    found += os.read(ours, 65536)
                except BlockingIOError:
                    return found.decode().replace("\r\n", "\n")

        yield read
    os.close(ours)


def test_what_python_warns_of_is_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    import_quietly()
    text = warnings.formatwarning("the posterior has collapsed", UserWarning, "somewhere.py", 3, "line = code()")
    assert text == "warning: the posterior has collapsed\n"


# ---------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("script", COMMANDS)
def test_help_is_wrapped_at_words(script, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        importlib.import_module(f"reproduce.{script}").main(["--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) < 80
    words = set(re.split(r"[\s,]+", text))
    names = {"figure1_gaussian": LINES, "table1": TABLE1_CELLS}.get(script, ())
    assert set(names) <= words  # none broken at its hyphens
    assert f"    python reproduce/{script}.py" in text or "TFDS_DATA_DIR" in text


def test_wrapping_keeps_commands_and_words():
    text = "One two three\nfour.\n\n    run a   this is what it does at length\n    run b   short\n\nEnd-of-it."
    assert cli.wrapped(text, 100).splitlines()[0] == "One two three four."
    narrow = cli.wrapped(text, 24).splitlines()
    assert max(map(len, narrow)) <= 24
    assert narrow[2:4] == ["    run a", "        this is what it"]
    assert narrow[-1] == "End-of-it."
    assert " ".join(cli.wrapped(text, 24).split()) == " ".join(text.split())


# ------------------------------------------------------------------------------------------------------------ progress


def test_the_display_is_one_line_that_never_wraps(monkeypatch):
    with terminal(monkeypatch) as read:
        with Display() as display:
            display.show(0.0, "a")
            display.show(0.5, "a training with a very long name indeed, epoch 12/40, and so on {braces}")
            display.show(1.0, "b")
        written = read()
    assert written.count("\n") == 1
    assert written.endswith("\n")
    lines = [line for line in written.replace("\n", "").split("\r") if line.strip()]
    assert max(map(len, lines)) < 80
    assert any("50 %" in line and "… " in line for line in lines)
    assert "100 %" in lines[-1]
    assert "0:00 left" in lines[-1]


def test_lines_stand_above_the_display(monkeypatch, capsys):
    with terminal(monkeypatch) as read:
        with Display() as display:
            display.show(0.1, "a")
            progress.say("epoch 1")
            display.show(0.2, "a")
        progress.say("afterwards")
        assert read().count("\n") == 1
    assert capsys.readouterr().out == "epoch 1\nafterwards\n"


def test_time_left_is_told_by_what_was_made(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Display() as display:
        display.show(0.5, "a", kept=0.5)
        now[0] += 40.0
        display.show(0.6, "b", kept=0.5)  # 0.1 took 40 seconds
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["a: 50 %, 0:00 gone, ? left", "b: 60 %, 0:40 gone, 2:40 left", "b: 100 %, 0:40 gone, 0:00 left"]


def test_stages_follow_each_other(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    with Display() as display:
        stages = Stages(display, 4.0)
        stages.begin("one", 1.0)(1.0, kept=True)
        stages.begin("two", 3.0)(0.5)
        # left without an error, all of it is done
    said = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == ["one: 0 %", "one: 25 %", "two: 25 %", "two: 62 %", "two: 100 %"]


def test_quiet_is_quiet(capsys):
    with Display(quiet=True) as display:
        display.show(0.5, "a")
    assert not any(capsys.readouterr())


def test_words_of_the_display():
    assert [shortened("abcdef", n) for n in (6, 5, 1)] == ["abcdef", "abcd…", "…"]
    assert [clock(seconds) for seconds in (5, 245.4, 3845)] == ["0:05", "4:05", "1:04:05"]


# ------------------------------------------------------------------------------------------------- whole commands


def run(*command, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"} | {"COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_command_says_nothing_of_tensorflow(tmp_path):
    found = run("reproduce/table1.py", "--report-only", "--out", str(tmp_path), tmp_path=tmp_path)
    assert found.stderr == f"error: {tmp_path} has no records to report\n"
    assert found.returncode == 1


WORK = {
    "figure1_gaussian": ["--preset", "quick", "--datasets", "2"],
    "table1": ["--preset", "smoke", "--cells", "k5-free", "--seeds", "0,1", "--processes", "2"],
}


@pytest.mark.slow
@pytest.mark.parametrize("script", WORK)
def test_an_interrupt_is_one_line_once(script, tmp_path):
    """Ctrl-C in a terminal goes to the workers too; here it is pressed twice."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, f"reproduce/{script}.py", *WORK[script], "--out", str(tmp_path)],
        cwd=ROOT, env=environment | {"COLUMNS": "80"}, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    began, text, pressed = time.monotonic(), "", False
    try:
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            text += part.decode(errors="replace")
            if not pressed and re.search(r" [1-9]\d* %\|", text):  # work is under way in the workers
                pressed = True
                os.killpg(process.pid, signal.SIGINT)
                time.sleep(0.05)
                os.killpg(process.pid, signal.SIGINT)
            assert time.monotonic() - began < 200
        assert process.wait(30) == 130
    finally:
        process.kill()
        os.close(ours)
    assert pressed
    *above, last = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    assert last.strip("\r").startswith("stopped; records are in ")
    assert text.count("stopped; ") == 1
    assert not NOISE.search(text)
    assert [line.startswith("\r") for line in above] == [False] * (len(above) - 1) + [True]  # the display: one line
    assert max(len(part) for line in above for part in line.split("\r")) < 80


@pytest.mark.slow
def test_workers_say_nothing_of_tensorflow(tmp_path):
    command = [
        "reproduce/figure1_gaussian.py", "--preset", "quick", "--dims", "1,2", "--datasets", "2", "--iterations", "20",
        "--methods", "vb", "--out", str(tmp_path),
    ]  # fmt: skip
    found = run(*command, tmp_path=tmp_path)
    assert found.returncode == 0
    assert not NOISE.search(found.stderr)
    assert all(re.fullmatch(r".*: \d+ %, .* left", line) for line in found.stderr.splitlines())
    assert "What the figure shows: at d = 2" in found.stdout
    assert max(map(len, found.stdout.splitlines())) < 80 + len(str(tmp_path))
