"""The calendar of dates as a model reads it: four numbers from -0.5 to 0.5, as the long-term forecasting literature
has them (time features of Informer, Zhou et al., AAAI 2021)."""

import numpy as np

FEATURES = ("hour", "weekday", "day of month", "day of year")


def calendar_of(stamps: np.ndarray) -> np.ndarray:
    """hour / 23, weekday / 6 (Monday is 0), (day - 1) / 30 and (day of year - 1) / 365, each less 0.5.

    Args:
        stamps: (rows,) datetime64.
    Returns:
        (rows, 4) float64.
    """
    day = stamps.astype("M8[D]")
    hour = (stamps.astype("M8[h]") - day).astype(np.int64)
    weekday = (day.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    of_month = (day - day.astype("M8[M]").astype("M8[D]")).astype(np.int64)
    of_year = (day - day.astype("M8[Y]").astype("M8[D]")).astype(np.int64)
    return np.stack([hour / 23, weekday / 6, of_month / 30, of_year / 365], axis=1) - 0.5
