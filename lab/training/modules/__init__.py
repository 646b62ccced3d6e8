"""Any torch module as a forecaster: what `lab.training.module_stack` is made of.

From the ground up: `masks` (dropout whose draws are a function of where training stands), `members` (N modules whose
parameters lie in one tensor), `optimiser` (AdamW on that tensor), `computing` (their forecasts, in turn or as one),
`probe` (what modules are found to do on a few windows: may they be computed as one?), `stack` (them in training),
`sources` (the files that say what a module computes), `copies` (those that a cluster is sent).
"""
