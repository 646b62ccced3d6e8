"""What a local search leaves open: its Ray's ports, the token's file, and keys in logs, results and answers."""

import importlib
import json
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ray.tune.execution import class_cache

from lab.errors import ConfigError
from lab.machines.doors import JOBS_HOOK, added_to_job, hooked, of_ray, plain_environment, private_token
from lab.store.frames import load
from tests.planted import PLANTED, files_below, holding
from tests.processes import ROOT, drivers

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1 in /proc/net/tcp, and in tcp6
SMALL = ("--preset", "smoke", "--trials", "2", "--replicates", "1", "--max-epochs", "1", "--max-concurrent", "1")


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the token would be, in a home folder without one."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home" / ".ray" / "auth_token"


@pytest.mark.slow
def test_a_local_search_listens_on_loopback_alone_and_writes_no_key_down(token: Path, tmp_path: Path) -> None:
    search = ("tune.search", *SMALL, "--final-replicates", "1", "--wandb", "offline", "--results", "out")
    with drivers("look_at_ray", tmp_path, "seen.json") as start, tempfile.TemporaryDirectory(dir="/tmp") as logs:
        here = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "RAY_TMPDIR": logs}
        driver = start(*search, **PLANTED, **here)
        assert driver.wait() == 0, driver.said()
        assert set(load("smoke", tmp_path / "out")["status"]) == {"complete"}
        seen = json.loads((tmp_path / "seen.json").read_text())
        listening = [who for each in seen["ports"].values() for who in each]
        assert len(listening) >= 8 and any("StackTrainable" in who or "ray::" in who for who in listening), seen
        assert set(seen["ports"]) <= LOOPBACK, {k: v for k, v in seen["ports"].items() if k not in LOOPBACK}
        assert any("StackTrainable" in answer for answer in seen["answers"]), "they tell of trials"
        assert not any("PL_DISABLE_FORK" in answer for answer in seen["answers"]), (
            "which have no environment of their own"
        )
        searched = files_below(tmp_path, Path(logs))
        assert {"runtime_env_agent.log", "raylet.out"} <= {path.name for path in searched}
        assert any(path.suffix == ".wandb" for path in searched)
        for name, value in {**PLANTED, "the token": token.read_text()}.items():
            found = [path for path in holding(value, tmp_path, Path(logs)) if path != token]
            assert not found, f"{name} is in {found}"
            assert not [answer for answer in seen["answers"] if value in answer], f"an answer holds {name}"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_the_token_is_made_once_and_its_owners_alone(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_TOKEN_PATH", "/x")):
        with pytest.MonkeyPatch.context() as named:
            named.setenv(name, value)
            private_token()
            assert not token.exists()
    private_token()
    made = token.read_text()
    assert len(made) == 64 and stat.S_IMODE(token.stat().st_mode) == 0o600 and len(list(token.parent.iterdir())) == 1
    token.chmod(0o644)
    private_token()
    assert token.read_text() == made and stat.S_IMODE(token.stat().st_mode) == 0o600
    monkeypatch.setenv("HOME", str(token))  # no folder
    with pytest.raises(ConfigError, match=r"no token for Ray can be kept in .* \(Not a directory\): name one"):
        private_token()


def test_tune_gives_trials_no_environment_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """So no key of a cloud, and no new process. If Tune keeps its list elsewhere one day, this says so before the slow
    test does."""
    importlib.reload(class_cache)  # as it is before any session of this process
    for name, value in {**PLANTED, "RAY_CHDIR_TO_TRIAL_DIR": "0"}.items():
        monkeypatch.setenv(name, value)
    cache = class_cache._ActorClassCache()

    def copied(trainable: type) -> set[str]:
        return set(cache.get(trainable)._default_options["runtime_env"].get("env_vars", ()))

    assert copied(type("Before", (), {})) & set(PLANTED), "else this test says nothing"
    for _ in range(2):  # sessions of one process
        plain_environment()
        assert not copied(type("After", (), {})) and of_ray() == {"RAY_CHDIR_TO_TRIAL_DIR": "0"}


def test_a_driver_adds_to_its_job_what_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"env_vars": {"A": "1", "B": "1", "C": "1"}, "worker_process_setup_hook": "ours", "py_modules": ["m"]}
    assert added_to_job(environment) == environment and hooked()
    job: dict[str, Any] = {"env_vars": {"A": "1", "B": "2"}, "working_dir": "w"}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": job}))
    left = {**environment, "env_vars": {"B": "1", "C": "1"}}
    assert added_to_job(environment) == left and hooked(), "what contradicts is Ray's to refuse"
    for own, ours in ((JOBS_HOOK, True), ("somebody.elses", False)):
        job["worker_process_setup_hook"] = own
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": job}))
        assert "worker_process_setup_hook" not in added_to_job(environment) and hooked() == ours
