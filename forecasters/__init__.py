"""The forecasters of this house by name. A row here and a file is all that another one takes."""

# Import strings, so that no model is imported that is not used.
FORECASTERS: dict[str, str] = {
    "dynonet": "dynonet.forecaster:DYNONET",
    "patchtst": "forecasters.patchtst:PATCHTST",
    "itransformer": "forecasters.itransformer:ITRANSFORMER",
    "timesnet": "forecasters.timesnet:TIMESNET",
}
