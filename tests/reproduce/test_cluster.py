"""Runs on a scheduler's workers: a worker killed in mid-run, resources, and what cannot be used said in one line."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import hvae_tf
from hvae_tf.data import load
from hvae_tf.runs import RunStore, run_all
from reproduce import configs, figure1_gaussian, judge, table1
from reproduce.cluster import ClusterError, cluster, perform
from reproduce.configs import Evaluation, Table1Preset
from reproduce.gaussian.jobs import make_jobs
from reproduce.gaussian.state import load_state
from reproduce.judging import presets
from reproduce.judging.digits import make_digits_models
from reproduce.judging.presets import Chains, JudgePreset
from tests.reproduce.mnist_records import TINY

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed: pip install .[cluster]")
EPOCHS, DATASETS, BLOCKS = 24, 6, 2
OF_TIME = {"training", "evaluation_seconds", "seconds"}
LIFETIME = 5


class Machines:
    """A scheduler and workers, two at first, processes of their own in a folder that is not the project's."""

    def __init__(self, folder: Path, workers=(("one", "blue=1"), ("other", "blue=1,red=1"))):
        self.processes, self._folder = {}, folder
        self.file = folder / "scheduler.json"
        self._start("scheduler", "dask_scheduler", "--port", "0", "--scheduler-file", str(self.file))
        deadline = time.monotonic() + 60
        while not self.file.exists():
            assert self.processes["scheduler"].poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]
        for name, resources in workers:
            self.start_worker(name, "--no-nanny", "--resources", resources)

    def start_worker(self, name, *arguments):
        self._start(name, "dask_worker", self.address, "--nthreads", "1", "--name", name,
                    "--local-directory", str(self._folder / name), *arguments)  # fmt: skip

    def _start(self, name, module, *arguments):
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        with (self._folder / f"{name}.log").open("w") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *arguments],
                cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def worker_of(self, run: str) -> str:
        """The name of the worker that is at a run."""
        with distributed.Client(self.address, set_as_default=False) as client:
            workers = client.scheduler_info(n_workers=-1)["workers"]
            for address, keys in client.processing().items():
                if any(str(key).startswith(run) for key in keys):
                    return workers[address]["name"]
        raise AssertionError(f"no worker is at {run}")

    def kill_in_mid_run(self, run: str, kept, finished: Path) -> dict:
        """Waits in a thread until a run has kept something, then kills the worker at it; a new one takes its place.

        Args:
            run: What the run's key begins with.
            kept: Of nothing: how much the run has kept by now, 0 as long as that is too little.
            finished: A file that is there once the run is done.

        Returns:
            Filled in by the thread: ``killed``, the process's status, ``kept``, how much was kept when it died, and
            ``fewest``, how little was kept between then and the run's end.
        """
        told = {}

        def kill():
            while not kept():
                time.sleep(0.002)
            name = self.worker_of(run)
            process = self.processes[name]
            process.send_signal(signal.SIGKILL)
            process.wait()
            told.update(killed=process.returncode, kept=(amount := kept()), fewest=amount)
            self.start_worker(name, "--no-nanny")
            while True:
                amount = kept()
                if finished.exists():
                    return
                told["fewest"] = min(told["fewest"], amount)
                time.sleep(0.005)

        threading.Thread(target=kill, daemon=True).start()
        return told

    def stop(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    found = Machines(tmp_path_factory.mktemp("machines"))
    yield found
    found.stop()


def epochs_of(history: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return max(0, len(history.read_text().splitlines()) - 1)
    return 0


@dataclasses.dataclass(frozen=True)
class Where:
    """A task that leaves the process that it ran in."""

    name: str
    cost: float = 1.0

    def done(self, store):
        return False

    def run(self, store, progress, force):
        (store.folder / self.name).write_text(str(os.getpid()))


@pytest.mark.slow
def test_runs_go_where_their_resources_are(machines, tmp_path):
    with cluster(machines.address, tmp_path, resources={"red": 1}) as executor:
        assert run_all([Where(name) for name in "abc"], RunStore(tmp_path), executor) == {}
    assert {int((tmp_path / name).read_text()) for name in "abc"} == {machines.processes["other"].pid}
    with (
        pytest.raises(ClusterError, match="no worker offers red=2"),
        cluster(machines.address, tmp_path, resources={"red": 2}),
    ):
        pass


def assert_same_results(folder, undisturbed):
    """That both folders have the same records, bit for bit but for what is of time; gives how many."""
    paths = sorted(path.name for path in undisturbed.glob("*.json"))
    assert paths == sorted(path.name for path in folder.glob("*.json"))
    for name in paths:
        ours, theirs = (hvae_tf.runs.read_record(path / name) for path in (folder, undisturbed))
        assert ours["history"] == theirs["history"]
        assert ours["results"].keys() == theirs["results"].keys()
        for result in theirs["results"].keys() - OF_TIME:
            assert ours["results"][result] == theirs["results"][result], result
    assert not list(folder.glob(".locks/*.shared"))
    return len(paths)


@pytest.mark.slow
def test_figure_1_goes_on_from_the_state_that_a_killed_worker_left(machines, tmp_path):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    common = ["--preset", "quick", "--variant", "as-released", "--methods", "vb,hvae-k1", "--dims", "2"]
    common += ["--datasets", str(DATASETS), "--iterations", "1000"]

    def states():  # one is saved where a data set ends
        found = out / "work" / "as-released-hvae-k1-d2.npz"
        state = load_state(found, repr(job)) if found.exists() else None
        done = len(state[0]["results"]) if state else 0
        return done if done >= 2 else 0

    args = figure1_gaussian.parse([*common, "--out", str(out)])
    job = next(job for job in make_jobs(args.config, args.methods, args.variants, 0) if job.method == "hvae-k1")
    told = machines.kill_in_mid_run(job.name, states, out / "as-released-hvae-k1-d2.json")
    assert figure1_gaussian.main([*common, "--out", str(out), "--scheduler", machines.address]) == 0
    assert told["killed"] == -signal.SIGKILL
    assert told["kept"] == told["fewest"] < DATASETS  # in mid-run, and not from the start again

    assert figure1_gaussian.main([*common, "--out", str(undisturbed), "--processes", "2"]) == 0
    assert assert_same_results(out, undisturbed) == 2
    assert (out / "report.md").read_text() == (undisturbed / "report.md").read_text()


@pytest.mark.slow
def test_the_judge_keeps_the_blocks_that_a_killed_worker_made(machines, tmp_path, monkeypatch):
    preset = JudgePreset(
        "digits", 200, 3, 2, 4, chains=Chains("encoder", 40, 3, 8), prior=Chains("prior", 5, 3, 2),
        curve_temperatures=(2, 4), curve_simulated=3,
    )  # fmt: skip
    monkeypatch.setitem(presets.JUDGE_PRESETS, "tiny", preset)
    model = make_digits_models(tmp_path, load("digits"), epochs=1, quiet=True)[0]
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    common = ["--preset", "tiny", "--models", str(model.path), "--quiet", "--no-curve"]
    made = {}

    def blocks():
        made.update({path: path.stat().st_mtime_ns for path in out.glob("work/vae-seed0/*.json") if path not in made})
        return len(made) if len(made) >= BLOCKS else 0

    told = machines.kill_in_mid_run("vae-seed0-part", blocks, out / "vae-seed0.json")
    assert judge.main([*common, "--out", str(out), "--scheduler", machines.address]) == 0
    assert told["killed"] == -signal.SIGKILL
    assert all(path.stat().st_mtime_ns == time for path, time in made.items())  # what was kept is not made again
    assert told["kept"] < len(list(out.glob("work/vae-seed0/*.json")))  # and there was more to make

    assert judge.main([*common, "--out", str(undisturbed), "--processes", "1"]) == 0
    assert assert_same_results(out, undisturbed) == 1


@pytest.mark.slow
def test_a_killed_workers_run_goes_on_from_its_checkpoint_to_the_same_table(machines, tmp_path, monkeypatch):
    preset = Table1Preset(dataclasses.replace(TINY, max_epochs=EPOCHS), Evaluation(None, 6, 1), ("vae",), {"vae": 2})
    monkeypatch.setitem(configs.TABLE1_PRESETS, "tiny", preset)
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    common = ["--preset", "tiny", "--verbose", "0"]

    def epochs():
        done = epochs_of(out / "work" / "vae-seed0" / "history.csv")
        return done if done >= 3 else 0

    told = machines.kill_in_mid_run("vae-seed0", epochs, out / "vae-seed0.json")
    assert table1.main([*common, "--out", str(out), "--scheduler", machines.address]) == 0
    assert told["killed"] == -signal.SIGKILL
    assert told["kept"] == told["fewest"] < EPOCHS  # in mid-run, and not from the start again

    assert table1.main([*common, "--out", str(undisturbed), "--processes", "2"]) == 0
    assert (out / "table1.csv").read_bytes() == (undisturbed / "table1.csv").read_bytes()
    assert assert_same_results(out, undisturbed) == 2
    for path in undisturbed.glob("*.json"):
        models = [keras.models.load_model(folder / "models" / f"{path.stem}.keras") for folder in (out, undisturbed)]
        for one, other in zip(*(model.get_weights() for model in models), strict=True):
            np.testing.assert_array_equal(one, other)


@dataclasses.dataclass(frozen=True)
class Endless(Where):
    """A task that ends only with its process."""

    def run(self, store, progress, force):
        super().run(store, progress, force)
        time.sleep(600)


@pytest.mark.slow
def test_an_interrupt_ends_what_is_under_way_where_workers_have_nannies(tmp_path):
    store = RunStore(tmp_path)

    def interrupt(overview):
        if (tmp_path / "a").exists():
            raise KeyboardInterrupt

    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as machines:
        with pytest.raises(KeyboardInterrupt), cluster(machines.scheduler_address, tmp_path) as executor:
            run_all([Endless("a"), Endless("b")], store, executor, on_progress=interrupt)
        with store.claim("a") as mine:
            assert mine  # its owner is dead
        with cluster(machines.scheduler_address, tmp_path) as executor:  # and its worker was made anew
            assert run_all([Where("c")], store, executor) == {}
    assert (tmp_path / "a").read_text() != (tmp_path / "c").read_text()
    assert not (tmp_path / "b").exists()


@dataclasses.dataclass(frozen=True)
class Long(Where):
    """A task that says which processes began it; the first attempt takes longer than its worker stays."""

    def run(self, store, progress, force):
        path = store.folder / self.name
        with path.open("a") as file:
            print(os.getpid(), file=file, flush=True)
        if len(path.read_text().split()) == 1:
            time.sleep(LIFETIME + 3)


@pytest.mark.slow
def test_a_worker_that_leaves_in_time_is_no_loss_and_the_variable_says_how_many_are_let_pass(tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    found = Machines(tmp_path, ())

    def once_begun(name, do):
        def wait():
            while not ((tmp_path / name).exists() and (tmp_path / name).read_text()):
                time.sleep(0.02)
            do()

        threading.Thread(target=wait, daemon=True).start()

    try:
        once_begun("a", lambda: found.start_worker("stays"))
        with cluster(found.address, tmp_path) as executor:
            found.start_worker("leaves", "--lifetime", f"{LIFETIME}s")
            assert run_all([Long("a")], RunStore(tmp_path), executor) == {}
        assert len({*(tmp_path / "a").read_text().split()}) == 2

        once_begun("b", lambda: os.kill(int((tmp_path / "b").read_text()), signal.SIGKILL))
        with cluster(found.address, tmp_path) as executor:
            assert list(run_all([Long("b")], RunStore(tmp_path), executor)) == ["b"]
    finally:
        found.stop()


def test_the_limit_of_losses_is_what_the_docs_say():
    text = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
    code = "import dask, distributed; print(dask.config.get('distributed.scheduler.allowed-failures'))"
    name = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"
    assert f"{name}=100 dask scheduler" in text
    limits = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        for environment in ({k: v for k, v in os.environ.items() if k != name}, {**os.environ, name: "100"})
    ]
    assert limits == ["3\n", "100\n"]
    assert "loses its worker four times is given up (dask's\n  `allowed-failures`, 3)" in text


@pytest.mark.slow
def test_a_lost_scheduler_is_one_line(tmp_path):
    found = Machines(tmp_path)
    try:
        with cluster(found.address, tmp_path) as executor:
            threading.Timer(1.0, found.processes["scheduler"].kill).start()
            with pytest.raises(RuntimeError, match="was lost"):
                run_all([Endless("a")], RunStore(tmp_path), executor)
    finally:
        found.stop()


def test_what_cannot_be_used_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("reproduce.cluster.CONNECT_SECONDS", 1)
    with (
        pytest.raises(ClusterError, match=r"no scheduler answers at 'tcp://127.0.0.1:9'") as error,
        cluster("tcp://127.0.0.1:9", tmp_path),
    ):
        pass
    assert "\n" not in str(error.value)
    local = distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0")
    with (
        local,
        pytest.raises(ClusterError, match=r"has 2 threads.*--nthreads 1"),
        cluster(local.scheduler_address, tmp_path),
    ):
        pass
    with pytest.raises(ClusterError, match=r"does not see .* give --out a folder that all machines share"):
        perform(lambda: None, str(tmp_path / "elsewhere" / ".locks" / "token"), 1)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install .*\[cluster\]"), cluster("tcp://a:1", tmp_path):
        pass


@pytest.mark.parametrize("script", [table1, figure1_gaussian])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scheduler", "tcp://a:1", "--processes", "2"], "--processes is for this machine"),
        (["--resources", "GPU=1"], "goes with --scheduler"),
        (["--scheduler", "tcp://a:1", "--resources", "GPU"], "no list of amounts"),
        (["--scheduler", "tcp://a:1", "--resources", "GPU=-1"], "positive amounts"),
    ],
)
def test_options_that_do_not_go_together(script, arguments, said, capsys):
    with pytest.raises(SystemExit):
        script.parse(arguments)
    assert said in capsys.readouterr().err
