"""How a search draws: rows of `table.SAMPLERS`, for `--sampler NAME`. One of Optuna's is a row; another method is a row
and a file beside these with three methods, `replay`, `ask` and `tell` (see `method.Method`; `latin` is one)."""
