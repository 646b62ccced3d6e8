"""How numbers are written in every report: one place, so that two reports cannot round the same number apart.

A number that is missing (None, NaN) is a dash, never 0 and never `nan`. Minus signs are typographic; `tables.tex`
turns them into LaTeX's.
"""

import math
from collections.abc import Mapping

MISSING = "–"
METRIC_NAMES: Mapping[str, str] = {
    "test_mse": "test MSE",
    "test_mae": "test MAE",
    "val_mse": "validation MSE",
    "val_mae": "validation MAE",
}


def known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def decimal(value: float | None, places: int = 4) -> str:
    """0.3871; one significant digit where that would round a small number to 0, which it is not."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{places}f}"
    if float(text) == 0:
        text = f"{value:.1g}" if value else text.lstrip("-")
    return text.replace("-", "−")


def signed(value: float | None, places: int = 4) -> str:
    """+0.0042: an effect, whose sign is half of what it says."""
    text = decimal(value, places)
    return f"+{text}" if value is not None and value > 0 else text


def percent(value: float | None) -> str:
    text = signed(value, 1)
    return text if text == MISSING else f"{text}%"


def mean_deviation(mean: float | None, deviation: float | None) -> str:
    """0.3871 ± 0.0032; the mean alone where there is no deviation."""
    return f"{decimal(mean)} ± {decimal(deviation)}" if known(mean) and known(deviation) else decimal(mean)


def interval(bounds: tuple[float, float] | None) -> str:
    if bounds is None or not all(map(known, bounds)):
        return MISSING
    return f"{decimal(bounds[0])} to {decimal(bounds[1])}"


def percents(bounds: tuple[float, float] | None) -> str:
    """As `interval`, of effects in percent."""
    if bounds is None or not all(map(known, bounds)):
        return MISSING
    return f"{percent(bounds[0])} to {percent(bounds[1])}"


def chance(probability: float | None) -> str:
    """62%; never a certainty, which no estimate of so few is."""
    if probability is None or math.isnan(probability):
        return MISSING
    return "< 1%" if probability < 0.01 else "> 99%" if probability > 0.99 else f"{probability:.0%}"


def over_windows(difference: tuple[float, tuple[float, float]] | None) -> str:
    """A sentence behind a comparison with the linear baseline, with a space before it; "" where nothing is known."""
    if difference is None:
        return ""
    mean, bounds = difference
    return f" The difference, {signed(mean)}, is {interval(bounds)} over stretches of time (95%)."


def p_value(p: float | None) -> str:
    """Three significant digits, so that no p is rounded across the usual alphas."""
    if p is None or math.isnan(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3g}"


def p_clause(name: str, p: float | None) -> str:
    """`adjusted p = 0.0117`, `adjusted p < 0.001`, or that there is none."""
    text = p_value(p)
    if text == MISSING:
        return f"no {name}"
    return f"{name} {text}" if text.startswith("<") else f"{name} = {text}"


def whole(value: int | None) -> str:
    return MISSING if value is None else f"{value:,}"


def pair(values: tuple[int, int], unknown: tuple[int, int] | None = None) -> str:
    """What holds without and with a part, in that order: `89,120 / 94,264`; `unknown` stands for no such thing."""
    return MISSING if values == unknown else f"{values[0]:,} / {values[1]:,}"


def counted(number: int, noun: str) -> str:
    """3 runs, 1 run."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float | None) -> str:
    if seconds is None or math.isnan(seconds):
        return MISSING
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def setting(value: object) -> str:
    """A setting's value as it is written in a file of settings."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(setting, value)) if isinstance(value, (list, tuple)) else str(value)


def brief(value: object) -> str:
    """A setting's value beside many others: four significant digits of a number that is not whole."""
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else setting(value)


def shortened(text: str, most: int) -> str:
    """A name where there is room for so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
