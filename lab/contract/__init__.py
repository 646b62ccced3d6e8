"""What every forecaster must do: `check_forecaster(NET)`, or `python -m lab.contract --model NAME`.

    from lab.contract import check_forecaster
    print(check_forecaster("my_package.my_module:NET"))

`interface` and `behaviour` hold the promises, a function each; `subject` is what they are tried on. A whole search and
study of a forecaster is tried by `ablations.contract`, which stands above them.
"""

from lab.contract.check import CHECKS, check_forecaster
from lab.contract.report import ContractBroken, Report

__all__ = ["CHECKS", "ContractBroken", "Report", "check_forecaster"]
