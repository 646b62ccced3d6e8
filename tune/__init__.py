"""Hyperparameter search: proposals by Optuna, trained as trials by Ray Tune."""

import lab.machines  # noqa: F401  (sets Ray's switches before anything here imports Ray)
