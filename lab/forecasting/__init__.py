"""From what was trained, or a bar, to the rows that come next, in the channels' own units, with dates and a band.

From the ground up: `band` (the interval, pure), `members` (what forecasts: networks, or a bar's map), `given` (rows
that a forecast reads), `known` (what the ledger is told), `model` (`ForecastModel`: predict, plot, save, load),
`chosen` (which runs), `seen` (the series that they saw), `making` (a model of them), `refit` (fitted again on all
rows), `backtest` (a walk over the test rows), `opening` (`lab.load`). The command is `lab.predict`.
"""
