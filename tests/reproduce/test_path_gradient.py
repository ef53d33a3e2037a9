"""The command that compares two gradients: end to end on digits, twice, and its answers to what is wrong."""

import json

import numpy as np
import pytest

from reproduce import configs, path_gradient


@pytest.fixture
def small(monkeypatch):
    """Table 1's protocol with networks that train in seconds."""
    import dataclasses

    budget = configs.TABLE1_PRESETS["budget"]
    sizes = {"latent_size": 2, "hidden_units": 4, "filters": (2,), "limit": (100, 20, 20)}
    config = dataclasses.replace(budget.config, **sizes)
    monkeypatch.setitem(configs.TABLE1_PRESETS, "budget", dataclasses.replace(budget, config=config))
    monkeypatch.setattr(path_gradient, "IMPORTANCE_SAMPLES", 5)
    monkeypatch.setattr(path_gradient, "ELBO_SAMPLES", 2)


@pytest.mark.slow
def test_end_to_end_twice(small, tmp_path, capsys):
    command = ["--dataset", "digits", "--epochs", "1", "--images", "10", "--out", str(tmp_path)]
    assert path_gradient.main(command) == 0
    report = (tmp_path / "report.md").read_text()
    assert "path less standard, image by image" in report
    records = {g: json.loads((tmp_path / f"{g}.json").read_text()) for g in path_gradient.GRADIENTS}
    losses = [record["history"]["val_loss"] for record in records.values()]
    assert losses[0] != losses[1]
    assert path_gradient.main([*command, "--report-only"]) == 0
    assert (tmp_path / "report.md").read_text() == report
    capsys.readouterr()
    assert path_gradient.main([*command[:3], "2", *command[4:]]) == 1  # records of one epoch
    assert capsys.readouterr().err.startswith("error: ")


def test_a_folder_without_records_is_named(tmp_path, capsys):
    assert path_gradient.main(["--report-only", "--out", str(tmp_path)]) == 1
    assert "has not both records" in capsys.readouterr().err


@pytest.mark.parametrize(("less", "said"), [(-0.5, "better"), (0.5, "worse"), (0.0, "not told apart")])
def test_the_verdict_is_that_of_the_difference(less, said):
    noise = np.array([0.0, 0.1, -0.1, 0.0])
    records = {
        gradient: {
            "configuration": {"dataset": "digits", "max_epochs": 2, "learning_rate": 0.003},
            "history": {"val_loss": [90.0, 88.0]},
            "results": {"images": 4, "per_image": {"neg_elbo": values.tolist(), "nll": values.tolist()}},
        }
        for gradient, values in (("standard", np.full(4, 90.0)), ("path", 90.0 + less + noise))
    }
    text = path_gradient.report(records)["report.md"]
    assert f"The bound along the path gradient: **{said}**" in text
    assert f"| {less:+.3f} ± 0.041 |" in text
