"""Promises of what a forecaster says of itself: its names, settings, sizes and arms."""

import json
from typing import Any

import torch
from torch import Tensor

from lab.arms import Arm, difference
from lab.contract.report import expect
from lab.contract.subject import Subject, train
from lab.errors import ConfigError
from lab.forecaster import Diagnostic, Part, Size
from lab.series import window_starts
from lab.settings.config import Config, TrainingConfig
from lab.settings.yaml import parse
from lab.training.liveness import TOLERANCE, Probe, compare, probe


def names_and_texts(subject: Subject) -> str:
    """Pages and the lab ask for these."""
    forecaster = subject.forecaster
    for name in ("name", "title"):
        text = getattr(forecaster, name, None)
        expect(isinstance(text, str) and text, f"{name} is {text!r}, expected a text")
    expect(issubclass(forecaster.config, Config), f"config is {forecaster.config!r}, expected a subclass of Config")
    missing = [field for field in TrainingConfig.model_fields if f"training.{field}" not in forecaster.config.names()]
    expect(not missing, f"section training lacks {', '.join(missing)}, which every training has")
    for kind, table, of in (
        ("parts", forecaster.parts, Part), ("arms", forecaster.arms, Arm),
        ("diagnostics", forecaster.diagnostics, Diagnostic),
    ):  # fmt: skip
        for key, value in table.items():
            expect(isinstance(value, of), f"{kind}: '{key}' is a {type(value).__name__}, expected {of.__name__}")
            own = getattr(value, "name", key)
            expect(own == key, f"{kind}: '{key}' calls itself '{own}', expected the same name")
    for key in forecaster.diagnostics:
        expect("." in key, f"diagnostics: got the key '{key}', expected group.name")
    for name in forecaster.parts:
        expect(f"no_{name}" in forecaster.arms, f"part '{name}' has no arm 'no_{name}' that switches it off")
    if forecaster.width is not None:
        forecaster.config.check_key(forecaster.width)
    learners = forecaster.learners(subject.base)
    for role in learners.values():
        subject.base.data.role(role)
    presets = [forecaster.config.create(preset=name) for name in forecaster.config.presets]
    return (
        f"{len(forecaster.config.names())} settings, {len(forecaster.space)} ranges, {len(forecaster.parts)} parts, "
        f"{len(forecaster.arms)} arms, {len(presets)} presets; who learns: {', '.join(learners)}"
    )


def refuses_unknown_keys(subject: Subject) -> str:
    """A misspelt setting is refused with the right one; so is a value that cannot be."""
    config = subject.forecaster.config
    keys = config.names()
    for key in keys:
        wrong = f"{key[:-1]}_{key[-1]}" if len(key) > 1 else f"{key}_"
        said = _refusal(config, {wrong: 1})
        expect(said, f"unknown key '{wrong}' was taken, expected ConfigError with the nearest, '{key}'")
        expect("did you mean" in said and wrong in said, f"unknown key '{wrong}': got {said!r}, expected the nearest")
    for key in keys:
        if config.setting_type(key) in (int, float):
            for value in ("many", float("nan"), True):
                said = _refusal(config, {key: value})
                expect(said, f"{key}={value!r} was taken, expected ConfigError: a number is needed")
    said = _refusal(config, None)
    expect(said, "preset 'no such preset' was taken, expected ConfigError with those that there are")
    return f"{len(keys)} settings misspelt, each refused with the nearest"


def _refusal(config: type[Config], settings: dict[str, Any] | None) -> str:
    try:
        config.create(settings) if settings is not None else config.create(preset="no such preset")
    except ConfigError as error:
        return str(error)
    return ""


def settings_come_back(subject: Subject) -> str:
    """From JSON and YAML, the same settings under the same id; unlike settings have unlike ids."""
    config, identity = subject.forecaster.config, subject.series.identity
    found = [made for _, made in subject.corners()]
    found += [arm for _, arm, _ in subject.arms().values()]
    found += [config.create(preset=name) for name in config.presets]
    found += [subject.base.with_seed(seed) for seed in (0, 2**62)]
    ids: dict[str, str] = {}
    for made in found:
        again = config.from_json(made.to_json())
        told = config.create(config.understood(_yaml(made), "."))
        for way, back in (("JSON", again), ("YAML", told)):
            expect(back == made, f"settings came back from {way} as {back.flat()}, expected {made.flat()}")
        run = made.run_id(identity)
        expect(again.run_id(identity) == run, f"run id {again.run_id(identity)} of the same settings, expected {run}")
        expect(made.run_id("other data") != run, "one run id for two series, expected another for each")
        content = json.dumps(made.canonical(), sort_keys=True)
        expect(ids.setdefault(run, content) == content, f"one run id, {run}, for {ids[run]} and {content}")
    expect(len(set(ids.values())) == len(ids), "one content under two run ids, expected one")
    return f"{len(found)} configs there and back, {len(ids)} unlike ones with an id each"


def _yaml(config: Config) -> dict[str, Any]:
    content: dict[str, Any] = parse(config.to_yaml())
    return content


def builds_at_both_ends(subject: Subject) -> str:
    """A forecast of the right shape at each end of each range, before the first step and after it."""
    count = 0
    for name, config in subject.corners():
        series = subject.series_of(config)
        windows = subject.windows(config, series)
        starts = window_starts(series, config.data, "validation")[:3].copy()
        inputs, target = windows.inputs(torch.as_tensor(starts)[None])
        stack = subject.stack([config], series)
        expect(stack.steps >= 1, f"{name}: an epoch of {stack.steps} steps, expected one at least")
        expect(
            stack.losses.shape == (len(stack.learners), 1) and stack.learners[0] == "train_loss",
            f"{name}: losses of shape {tuple(stack.losses.shape)} for learners {stack.learners}, expected a row each, "
            "train_loss first",
        )
        for moment in ("before the first step", "after one step"):
            forecast, besides = stack.forecast(inputs)
            wanted = (1, series.num_channels, config.data.pred_len, target.shape[-1])
            expect(
                forecast.shape == wanted and forecast.isfinite().all(),
                f"{name}, {moment}: a forecast of shape {tuple(forecast.shape)}, expected finite numbers (N, C, H, B), "
                f"{wanted}",
            )
            undeclared = sorted(set(besides) - set(subject.forecaster.diagnostics))
            expect(not undeclared, f"{name}: forecasts give {', '.join(undeclared)}, which diagnostics do not declare")
            for key, value in besides.items():
                expect(value.shape[:1] == (1,), f"{name}: {key} is {tuple(value.shape)}, expected (N, ...)")
            if moment != "after one step":
                train(stack, 1)
        expect(stack.losses.isfinite().all(), f"{name}: a loss that is not finite after one step")
        count += 1
    return f"{count} settings built, each trained for a step"


def parameters_counted(subject: Subject) -> str:
    """`size` is what weights hold, of which all that is no parameter stands still or is a buffer."""
    texts: list[str] = []
    for name, config in subject.corners():
        series = subject.series_of(config)
        size = subject.forecaster.size(config, series.num_channels)
        expect(isinstance(size, Size), f"{name}: size is {size!r}, expected Size(parameters, effective)")
        stack = subject.stack([config], series)
        (weights,) = stack.weights([0])
        buffers = _buffers(subject, config, series.num_channels)
        trained = sum(_numbers(tensor) for key, tensor in weights.items() if key not in buffers)
        expect(
            size.parameters == trained,
            f"{name}: size says {size.parameters:,} parameters, and weights hold {trained:,} numbers that are trained",
        )
        expect(
            0 < size.effective <= size.parameters,
            f"{name}: {size.effective:,} effective of {size.parameters:,} parameters, expected some and no more",
        )
        if not texts:
            also = f", {size.effective:,} of them effective" if size.effective != size.parameters else ""
            texts.append(f"{size.parameters:,} parameters at {name}{also}")
    return f"{texts[0]}; true at all ends"


def _numbers(tensor: Tensor) -> int:
    return tensor.numel() * (2 if tensor.is_complex() else 1)


def _buffers(subject: Subject, config: Config, channels: int) -> set[str]:
    """What a torch module keeps beside its parameters; of other forecasters weights hold nothing else."""
    build = getattr(subject.forecaster, "module", None)
    if build is None:
        return set()
    module = build(config, channels)
    return set(module.state_dict()) - {name for name, each in module.named_parameters() if each.requires_grad}


def arms_differ(subject: Subject) -> str:
    """An arm says why it cannot be applied, or changes settings and then the forecast, or says why it does not."""
    forecaster, base = subject.forecaster, subject.base
    texts: dict[str, list[str]] = {"alive": [], "inert": [], "not here": []}
    for name, arm in forecaster.arms.items():
        if not arm.compared or name in subject.arms():
            continue
        beside = forecaster.arms.get(arm.against)
        if beside is not None and beside.compared and arm.against not in subject.arms():
            continue  # that one says why
        try:
            arm.apply(base)
        except ConfigError as error:
            said = str(error)
            known = "needs" in said or "changes nothing" in said
            expect(known and name in said, f"arm '{name}' is refused with {said!r}, expected what it needs")
            texts["not here"].append(name)
    configs = subject.arms()
    probes = _probes(subject, [config for _, one, other in configs.values() for config in (one, other)])
    for name, (arm, config, against) in configs.items():
        changed = difference(against, config)
        expect(changed, f"arm '{name}' has the canonical settings of {arm.against}, expected a difference")
        pair = probes[config.to_json()], probes[against.to_json()]
        liveness = compare(arm, arm.against, "main", (config, against), pair)
        texts["inert" if liveness.inert else "alive"].append(name)
        expect(
            not liveness.inert or liveness.note,
            f"arm '{name}' ({', '.join(changed)}) changes nothing after a few steps (all within {TOLERANCE:g}), and "
            "why_inert does not say why",
        )
    return "; ".join(f"{len(who)} {kind}: {', '.join(who)}" for kind, who in texts.items() if who) or "it has none"


def _probes(subject: Subject, configs: list[Config]) -> dict[str, Probe]:
    """By the config as JSON, each trained once."""
    by_text = {config.to_json(): config for config in configs}
    found: list[Probe] = probe(list(by_text.values()), subject.series) if by_text else []
    return dict(zip(by_text, found, strict=True))
