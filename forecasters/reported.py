"""Published results on ETTh1 at H=96 (multivariate), each as its source reports it, to stand beside our own."""

from pathlib import Path

from lab.references.reports import Report
from lab.settings.data import DataConfig

# Model: (test MSE, test MAE, parameters as printed). DynoNet's is one run of one seed.
PUBLISHED_ETTH1_H96: dict[str, tuple[float, float, str]] = {
    "FEDformer": (0.376, 0.419, "500K"),
    "TimesNet": (0.384, 0.402, "500K"),
    "iTransformer": (0.386, 0.405, "500K"),
    "DynoNet (published)": (0.386, 0.415, "94K"),
    "PatchTST": (0.414, 0.419, "550K"),
    "Crossformer": (0.423, 0.448, "1M+"),
    "Autoformer": (0.449, 0.459, "500K"),
    "DLinear": (0.456, 0.452, "10K"),
}

RECORDS = Path(__file__).parents[1] / "results" / "league"  # of what `make league` measured of the same models

# Test MSE of the published code itself at its published settings, by seed.
PUBLISHED_CODE_ETTH1_H96: dict[int, float] = {1: 0.3909, 2: 0.4072, 12345: 0.4224}


def reported(data: DataConfig) -> dict[str, tuple[float, float, str]]:
    """The published table where it applies (ETTh1 at H=96), else nothing."""
    return PUBLISHED_ETTH1_H96 if data.dataset == "ETTh1" and data.pred_len == 96 else {}


TABLE = "as the table of the published DynoNet has it"
# By name in the registry, on ETTh1 at H=96.
REPORTS_ETTH1_H96: dict[str, tuple[Report, ...]] = {
    "dynonet": (Report(0.386, 0.415, seq_len=512, seeds=1, said="with the published settings and protocol there"),),
    "timesnet": (Report(0.384, 0.402, seq_len=96),),
    "itransformer": (Report(0.386, 0.405, seq_len=96),),
    "patchtst": (
        Report(0.414, 0.419, seq_len=96),
        Report(0.375, 0.399, seq_len=336, dropped=True),
        Report(0.370, 0.400, seq_len=512, dropped=True, said="0.385 where the last batch is counted"),
    ),
    "crossformer": (Report(0.423, 0.448),),
    "dlinear": (
        Report(0.456, 0.452, said=TABLE),
        Report(0.386, 0.400, seq_len=96),
        Report(0.375, 0.399, seq_len=336, dropped=True),  # the authors' LTSF-Benchmark.md, as NLinear's
    ),
    "nlinear": (Report(0.374, 0.394, seq_len=336, dropped=True),),
    "autoformer": (Report(0.449, 0.459, seq_len=96),),
    "fedformer": (Report(0.376, 0.419, seq_len=96),),
    "sparsetsf": (Report(0.362, 0.389, seq_len=720),),
    "cyclenet": (Report(0.3745, 0.3965, seq_len=336, seeds=5),),
    "rlinear": (Report(0.364, 0.391, searched=True),),
}


def reports(model: str, data: DataConfig) -> tuple[Report, ...]:
    """What is reported of a model on this data and horizon."""
    return REPORTS_ETTH1_H96.get(model, ()) if reported(data) else ()
