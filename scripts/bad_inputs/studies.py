"""Studies, cells and arms."""

from collections.abc import Iterator
from pathlib import Path

from scripts.bad_inputs.base import TINY, Input
from scripts.bad_inputs.searches import NAMES

STUDY = {
    "name": "mine",
    "question": "Which parts earn their keep?",
    "arms": "[no_film, no_trend]",
    "baseline": "{" + ", ".join(setting.replace("=", ": ") for setting in TINY) + "}",
    "seeds": "8",
}
STUDIES: dict[str, tuple[dict[str, str], str]] = {
    **{
        f"name {name[:12]!r}": ({"name": '"' + name.replace("\\", "").encode("unicode_escape").decode() + '"'}, "name")
        for name in NAMES
    },
    "no name": ({"name": ""}, "name"),
    "no question": ({"question": ""}, "question"),
    "a short question": ({"question": "Why?"}, "question"),
    "no arms": ({"arms": "[]"}, "arm"),
    "an unknown arm": ({"arms": "[no_flim]"}, "did you mean 'no_film'"),
    "an arm twice": ({"arms": "[no_film, no_film]"}, "no_film.*twice|twice"),
    "arms as text": ({"arms": "no_film"}, "arms"),
    "arms of numbers": ({"arms": "[1]"}, "arms"),
    "the full network as an arm": ({"arms": "[full]"}, "nothing to compare"),
    "an arm without a claim": ({"arms": "[{name: x, overrides: {model.film: false}}]"}, "claim"),
    "an arm that changes nothing": ({"arms": "[{name: x, claim: it is of no use, overrides: {}}]"}, "overrides"),
    "an arm of an unknown setting": (
        {"arms": "[{name: x, claim: it is of no use, overrides: {model.flim: 1}}]"},
        "flim",
    ),
    "an arm of a bad value": (
        {"arms": "[{name: x, claim: it is of no use, overrides: {model.dropout: 7}}]"},
        "dropout",
    ),
    "an arm of a registered name": (
        {"arms": "[{name: no_film, claim: it is of no use, overrides: {model.film: false}}]"},
        "no_film",
    ),
    "an arm with a bad name": (
        {"arms": "[{name: 'a b/..', claim: it is of no use, overrides: {model.film: false}}]"},
        "a b",
    ),
    "an arm with an escape": (
        {"arms": '[{name: "x\\e[2J", claim: it is of no use, overrides: {model.film: false}}]'},
        "arm",
    ),
    "an arm of other data": (
        {"arms": "[{name: x, claim: it is of no use, overrides: {data.pred_len: 8}}]"},
        "windows.*make it a cell",
    ),
    "an arm of a seed": ({"arms": "[{name: x, claim: it is of no use, overrides: {training.seed: 8}}]"}, "seed"),
    "cells as a list": ({"cells": "[a]"}, "cells"),
    "a cell of an unknown setting": ({"cells": "{a: {data.pred: 8}, b: {}}"}, "pred"),
    "a cell of an unknown preset": ({"cells": "{a: {preset: h97}, b: {}}"}, "h97|h96"),
    "two cells alike": ({"cells": "{a: {}, b: {}}"}, "a.*b|alike|same"),
    "a cell with a bad name": ({"cells": "{'../a': {}}"}, "cell"),
    "a cell without a name": ({"cells": "{'': {}}"}, "cell"),
    "a cell of a window too long": ({"cells": "{a: {data.seq_len: 4000}}"}, "seq_len"),
    "a cell of a file that is not there": ({"cells": "{a: {data.path: gone.csv}}"}, "gone.csv"),
    "seeds of 1": ({"seeds": "1"}, "seeds"),
    "seeds of 0": ({"seeds": "0"}, "seeds"),
    "seeds below 0": ({"seeds": "-4"}, "seeds"),
    "seeds too few to decide": ({"seeds": "3"}, "seeds"),
    "seeds without end": ({"seeds": "1000000000"}, "seeds"),
    "seeds twice": ({"seeds": "[1, 1, 2, 3, 4, 5, 6, 7]"}, "seed"),
    "seeds of text": ({"seeds": "many"}, "seeds.*many"),
    "seeds of truth": ({"seeds": "true"}, "seeds"),
    "seeds of halves": ({"seeds": "7.5"}, "seeds"),
    "alpha of 0": ({"alpha": "0"}, "alpha"),
    "alpha of 2": ({"alpha": "2"}, "alpha"),
    "alpha of NaN": ({"alpha": ".nan"}, "alpha"),
    "a margin below 0": ({"margin_percent": "-1"}, "margin"),
    "another metric": ({"metric": "val_mse"}, "metric"),
    "an unknown field": ({"arm": "[no_film]"}, "arm.*arms|unknown"),
    "a preset of another kind": ({"preset": "h97"}, "h96"),
    "scientific settings that are none": ({"scientific": "[model.flim]"}, "flim"),
    "a setting fixed and varied": ({"scientific": "[model.film, model.trend]", "fixed": "[model.film]"}, "film"),
    "an arm beyond what it may change": ({"scientific": "[model.trend]"}, "film"),
    "a factorial of nothing": ({"factorial": "[]", "arms": "[]"}, "arm|factor"),
    "a pair of unknown arms": ({"pairs": "[{arm: no_film, against: no_flim}]"}, "no_flim|no_film"),
    "a pair with itself": ({"pairs": "[{arm: no_film, against: no_film}]"}, "no_film"),
    "looks of 0": ({"seeds": "auto", "looks": "0"}, "looks"),
    "a baseline of a bad value": ({"baseline": "{training.lr: -1}"}, "lr"),
    "a baseline as a list": ({"baseline": "[1]"}, "baseline"),
    "a retune of no trials": ({"retune": "{trials: 0}"}, "trials"),
}


def studies() -> Iterator[Input]:
    for number, (name, (changes, said)) in enumerate(STUDIES.items()):
        fields = {**STUDY, **changes}
        Path(f"study{number:02d}.yaml").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
        dry = ("--dry-run",) if number % 2 else ()
        yield Input("ablations.run", f"study: {name}", (f"study{number:02d}.yaml", *dry), (said,))
    Path("study.yaml").write_text("".join(f"{key}: {value}\n" for key, value in STUDY.items()))


def study_options() -> Iterator[Input]:
    for name in ("quickstrat", "", "gone.yaml", "folder.csv", "y06.yaml", "y07.yaml", "..", "x" * 5000 + ".yaml"):
        yield Input("ablations.run", f"study {name[:20]!r}", (name,), ("study|parts_quick|cannot read|mapping",))
    for name in NAMES[1:8]:
        yield Input("ablations.run", f"--study {name[:20]!r}", ("study.yaml", f"--study={name}"), ("name",))
    flags: dict[str, tuple[tuple[str, ...], str]] = {
        "an unknown arm": (("--arms", "no_flim"), "no_film"),
        "no arm": (("--arms", ","), "arm"),
        "seeds of text": (("--seeds", "a,b"), "seeds.*a,b"),
        "seeds of 0": (("--seeds", "0"), "seeds"),
        "too few seeds": (("--seeds", "2"), "seeds"),
        "a seed of 2**70": (("--seeds", f"1,2,3,4,5,6,7,{2**70}"), "seed"),
        "looks without auto": (("--looks", "2"), "looks.*auto"),
        "most seeds without auto": (("--max-seeds", "20"), "max-seeds.*auto"),
        "hours without auto": (("--device-hours", "2"), "device-hours.*auto"),
        "hours of nan": (("--seeds", "auto", "--device-hours", "nan"), "device-hours.*nan"),
        "looks of 99": (("--seeds", "auto", "--looks", "99"), "looks"),
        "alpha of nan": (("--alpha", "nan"), "alpha"),
        "alpha of text": (("--alpha", "low"), "alpha.*low"),
        "a margin of 0": (("--margin", "0"), "margin"),
        "a stack of 0": (("--stack-size", "0"), "stack-size.*0"),
        "an override that an arm changes": (("model.film=false",), "film"),
        "an override of no arm's": (("model.flim=false",), "flim"),
        "epochs of 0": (("--max-epochs", "0"), "max_epochs.*0"),
        "results in a file": (("--results", "occupied"), "occupied"),
        "results where nothing can be written": (("--results", "/proc/x"), "/proc/x"),
        "a ledger of nothing": (("--ledger", "--results", "gone"), "gone"),
        "CPUs of nan": (("--cpus-per-trial", "nan"), "cpus-per-trial"),
        "an address that nobody answers": (("--address", "127.0.0.1:9"), "127.0.0.1:9"),
    }
    for name, (given, said) in flags.items():
        yield Input("ablations.run", name, ("study.yaml", *given), (said,))
