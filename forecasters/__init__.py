"""The forecasters of this house by name. A row here and a file is all that another one takes."""

# Import strings, so that no model is imported that is not used.
FORECASTERS: dict[str, str] = {
    "dynonet": "dynonet.forecaster:DYNONET",
    "autoformer": "forecasters.autoformer:AUTOFORMER",
    "crossformer": "forecasters.crossformer:CROSSFORMER",
    "cyclenet": "forecasters.cyclenet:CYCLENET",
    "dlinear": "forecasters.dlinear:DLINEAR",
    "fedformer": "forecasters.fedformer:FEDFORMER",
    "itransformer": "forecasters.itransformer:ITRANSFORMER",
    "nlinear": "forecasters.nlinear:NLINEAR",
    "patchtst": "forecasters.patchtst:PATCHTST",
    "rlinear": "forecasters.rlinear:RLINEAR",
    "sparsetsf": "forecasters.sparsetsf:SPARSETSF",
    "tide": "forecasters.tide:TIDE",
    "timesnet": "forecasters.timesnet:TIMESNET",
    "tsmixer": "forecasters.tsmixer:TSMIXER",
}
# Families of which any model is a forecaster by its name there: `--model nf:NHITS`.
FAMILIES: dict[str, str] = {"nf": "forecasters.nf"}
