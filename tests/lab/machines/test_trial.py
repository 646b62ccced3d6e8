"""What a trial is told, on its way through Ray and back."""

import json

import pytest

from lab.machines.trial import TrialSpec


def test_a_spec_comes_back_as_it_went() -> None:
    spec = TrialSpec(("{}", "[]"), "a", "s3://b/x", "mine", 600.0, "m", 2, True, {"git_commit": None}, stack=3)
    told = spec.to_dict()
    assert TrialSpec.from_dict(json.loads(json.dumps(told))) == spec and spec.name == "stack 3"
    assert "most" not in told and "test_purpose" not in told, "what is None is not told"
    assert [spec.side_by_side, spec.halved().most, spec.halved().halved().most] == [2, 1, 1]
    with pytest.raises(TypeError, match="mots"):
        TrialSpec.from_dict({**told, "mots": 3})
