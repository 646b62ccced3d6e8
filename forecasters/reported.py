"""Published results on ETTh1 at H=96 (multivariate), each as its source reports it, to stand beside our own."""

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

# Test MSE of the published code itself at its published settings, by seed.
PUBLISHED_CODE_ETTH1_H96: dict[int, float] = {1: 0.3909, 2: 0.4072, 12345: 0.4224}


def reported(data: DataConfig) -> dict[str, tuple[float, float, str]]:
    """The published table where it applies (ETTh1 at H=96), else nothing."""
    return PUBLISHED_ETTH1_H96 if data.dataset == "ETTh1" and data.pred_len == 96 else {}
