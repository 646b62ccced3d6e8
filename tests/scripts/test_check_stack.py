"""What docs/python.md says of a model alone and in a stack, in float32: equal up to rounding."""

import re

import pytest

from scripts import check_stack

LARGEST = 1e-5  # of a validation MSE after two epochs, relative; docs/python.md says what 60 make of it


def test_alone_and_in_a_stack_agree_up_to_rounding(capsys: pytest.CaptureFixture[str]) -> None:
    check_stack.main(["--stacks", "1", "--epochs", "2"])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [re.split(r"\s{2,}", row)[0] for row in rows] == [check_stack.MULTIPLE, check_stack.ANY]
    for row in rows:
        models, changed, differ, *apart = row.removeprefix(check_stack.MULTIPLE).removeprefix(check_stack.ANY).split()
        assert int(models) > 1 and int(changed) <= int(differ) <= int(models)
        assert all(float(value) <= LARGEST for value in apart if value != "none"), row
