"""What a user may touch is visible, and costs nothing until it is touched."""

import subprocess
import sys

import pytest

import dynonet
import lab


@pytest.mark.parametrize("package", [lab, dynonet])
def test_dir_shows_what_is_public_and_all_of_it_is_there(package: object) -> None:
    names = dir(package)
    assert names == sorted(package.__all__)  # type: ignore[attr-defined]
    assert all(getattr(package, name).__name__ == name for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'Cnofig'"):
        _ = package.Cnofig  # type: ignore[attr-defined]


def test_nothing_heavy_is_imported_before_it_is_asked_for() -> None:
    heavy = "{'torch', 'ray', 'optuna', 'pandas', 'wandb', 'numba'}"
    said = f"import sys, lab, dynonet, tune.results; dir(lab), dir(dynonet); print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("set()", "{'pandas'}"), "the tables alone may need pandas"
