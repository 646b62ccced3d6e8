"""What the golden cases of the rivals call things, and what we call them: a row a model.

A case NAME.json holds settings, the number of parameters, the loss and the gradient norms in evaluation mode; NAME.pt
its weights under the names of the usual code; NAME.npz inputs, targets and the forecast.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.registry import forecaster
from lab.settings.config import Config

FOLDER = Path(os.environ.get("DYNONET_RIVALS_DIR", Path(__file__).parents[1] / "golden" / "rivals"))
Renaming = tuple[tuple[str, str], ...]  # regular expression -> what stands in its place, in turn; "" leaves a name out


@dataclass(frozen=True)
class Model:
    """How a model's cases are read."""

    names: Renaming = ()  # of its weights
    settings: Mapping[str, str] = field(default_factory=dict)  # the case's name -> ours; others are called alike
    values: Mapping[str, Any] = field(default_factory=dict)  # dotted settings of ours that cases leave unsaid
    nothing: float = 1e-6  # of the largest gradient norm: below it a norm is rounding, as of a bias before a softmax
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)  # (S, H) -> parameters by default, 7 channels


LAYER: Renaming = (  # of an encoder or decoder of attention and two maps
    (r"\bencoder\.attn_layers\.", "encoder."),
    (r"\bdecoder\.layers\.", "decoder."),
    (r"(query|key|value|out)_projection", r"\1"),
    (r"\.conv1\.", ".feed.inner."),
    (r"\.conv2\.", ".feed.outer."),
    (r"\.norm1\.", ".norm_attention."),
    (r"\.norm2\.", ".norm_feed."),
)
EMBEDDING: Renaming = (
    (r".*position_embedding\.pe$", ""),  # computed
    (r"^(enc|dec)_embedding\.value_embedding(\.tokenConv)?\.", r"\1_embedding.value."),
    (r"^(enc|dec)_embedding\.temporal_embedding\.embed\.", r"\1_embedding.calendar."),
    (r"^enc_embedding", "embedding"),
    (r"^dec_embedding", "decoder_embedding"),
)
DECOMPOSED: Renaming = (  # an encoder and a decoder that take trends out
    *LAYER,
    (r"^(encoder|decoder)\.norm\.layernorm\.", r"\1_norm."),
    (r"^decoder\.projection\.", "head."),
    (r"^(decoder\.\d+)\.projection\.", r"\1.trend."),
)
# Import nothing here: a model is imported by its name in the registry, where a case asks for it.
MODELS: dict[str, Model] = {
    "autoformer": Model(
        (*EMBEDDING, *DECOMPOSED), settings={"moving_avg": "moving_average"},
        sizes={(96, 96): 10_535_943, (512, 96): 10_535_943},
    ),
    "crossformer": Model(
        (
            (r".*position_embedding\.pe$", ""),
            (r"^enc_value_embedding\.value_embedding\.", "embedding."),
            (r"^enc_pos_embedding$", "places"), (r"^dec_pos_embedding$", "places_ahead"), (r"^pre_norm", "norm"),
            (r"^encoder\.encode_blocks\.", "encoder."), (r"^decoder\.decode_layers\.", "decoder."),
            (r"merge_layer\.linear_trans", "merge.map"), (r"merge_layer", "merge"),
            (r"\.(encode_layers\.0|self_attention)\.", ".stage."),
            (r"(query|key|value|out)_projection", r"\1"), (r"MLP(\d)\.0", r"MLP\1.inner"),
            (r"MLP(\d)\.2", r"MLP\1.outer"),
            (r"stage\.time_attention", "stage.time"), (r"stage\.dim_sender", "stage.send"),
            (r"stage\.dim_receiver", "stage.receive"),
            (r"stage\.MLP1", "stage.time_feed"), (r"stage\.MLP2", "stage.feed"),
            (r"stage\.norm1", "stage.time_norms.0"), (r"stage\.norm2", "stage.time_norms.1"),
            (r"stage\.norm3", "stage.norms.0"), (r"stage\.norm4", "stage.norms.1"),
            (r"cross_attention", "read"), (r"\.norm1\.", ".norm_read."), (r"\.norm2\.", ".norm_feed."),
            (r"MLP1", "feed"), (r"linear_pred", "head"),
        ),
        settings={"seg_len": "segment", "win_size": "window"},
        sizes={(96, 96): 42_176_036, (512, 96): 42_382_884},
    ),
    "cyclenet": Model(
        ((r"^cycleQueue\.data", "cycle"), (r"^model\.", "map.")),
        settings={"cycle": "period", "model_type": "kind", "use_revin": "revin"},
    ),
    "dlinear": Model(
        ((r"^Linear_Seasonal", "rest"), (r"^Linear_Trend", "trend")),
        settings={"moving_avg": "moving_average"},
        sizes={(96, 96): 18_624, (512, 96): 98_496},
    ),
    "nlinear": Model(((r"^Linear", "linear"),)),
    "patchtst": Model(
        (
            *EMBEDDING, *LAYER,
            (r"^patch_embedding\.value_embedding\.", "embedding."),
            (r"^encoder\.norm\.1\.", "norm."),
            (r"^head\.linear\.", "head."),
        ),
        sizes={(96, 96): 3_751_520, (512, 96): 6_307_424},
    ),
    "fedformer": Model(
        (
            *EMBEDDING, *DECOMPOSED,
            (r"\.inner_correlation\.index(_q)?$", ".mix.modes"), (r"\.inner_correlation\.index_kv$", ".mix.modes_read"),
            (r"\.inner_correlation\.weights1?$", ".mix.real"), (r"\.inner_correlation\.weights2$", ".mix.imaginary"),
        ),
        settings={"moving_avg": "moving_average"}, values={"model.form": "benchmark"},
        sizes={(96, 96): 16_827_399, (512, 96): 16_827_399},
    ),
    "itransformer": Model(
        (
            (r"^enc_embedding\.value_embedding\.", "embedding."),
            *LAYER,
            (r"^encoder\.norm\.", "norm."),
            (r"^projection\.", "head."),
        ),
        sizes={(96, 96): 841_568, (512, 96): 948_064},
    ),
    "timesnet": Model(
        (
            *EMBEDDING,
            (r"^model\.(\d+)\.conv\.0\.", r"blocks.\1.rise."),
            (r"^model\.(\d+)\.conv\.2\.", r"blocks.\1.fall."),
            (r"^layer_norm\.", "norm."),
            (r"^predict_linear\.", "extend."),
            (r"^projection\.", "head."),
        ),
        values={"model.periods": "batch"},
        sizes={(96, 96): 605_479, (512, 96): 898_759},
    ),
    "rlinear": Model(((r"^Linear", "linear"),)),
    "sparsetsf": Model(
        ((r"^conv1d", "smooth"), (r"^linear", "map")), settings={"period_len": "period", "model_type": "kind"}
    ),
    "tide": Model(
        (
            (r"^feature_encoder", "dense.features"), (r"^encoders", "dense.encoder"), (r"^decoders", "dense.decoder"),
            (r"^temporalDecoder", "dense.head"), (r"^residual_proj", "residual"),
            (r"\.fc1\.", ".inner."), (r"\.fc2\.", ".outer."), (r"\.fc3\.", ".skip."), (r"\.ln\.", ".norm."),
        ),
        settings={
            "d_model": "hidden", "d_ff": "head_hidden", "c_out": "decoded", "e_layers": "encoder_layers",
            "d_layers": "decoder_layers",
        },
        values={"model.head_norm": True},
        nothing=2e-5,  # the norm of its head lets no gradient through but rounding (see the model's file)
    ),
    "tsmixer": Model(
        (
            (r"^model\.", "layers."), (r"\.temporal\.", ".time."), (r"\.channel\.", ".channels."),
            (r"^projection", "head"),
        ),
        settings={"d_model": "hidden", "e_layers": "num_layers"},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One golden case."""

    path: Path  # of its JSON

    @cached_property
    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found

    @property
    def name(self) -> str:
        """Of its model, in the registry."""
        return str(self.content["model"]).lower()

    @property
    def model(self) -> Model:
        return MODELS[self.name]

    @cached_property
    def arrays(self) -> dict[str, Tensor]:
        with np.load(self.path.with_suffix(".npz")) as found:
            return {name: torch.as_tensor(found[name]) for name in found.files}

    @cached_property
    def config(self) -> Config:
        """Its settings, where our model has them."""
        kind, content = forecaster(self.name).config, self.content["settings"]
        known, settings = kind.names(), dict(self.model.values)
        for name, value in content.items():
            ours = self.model.settings.get(name, name)
            for key in (f"data.{ours}", f"model.{ours}"):
                if key in known and key not in settings:
                    kept = kind.annotation(key) is bool and isinstance(value, int)  # switches may be said as 0 and 1
                    settings[key] = bool(value) if kept else value
        return kind.create(settings)

    def build(self) -> nn.Module:
        """Our module with the case's weights, in evaluation mode."""
        found = forecaster(self.name)
        module: nn.Module = found.module(self.config, self.arrays["x"].shape[-1])  # type: ignore[attr-defined]
        module.load_state_dict(self.weights(module))
        return module.eval()

    def weights(self, module: nn.Module) -> dict[str, Tensor]:
        """The case's weights under our names, in our shapes."""
        stored = torch.load(self.path.with_suffix(".pt"), weights_only=True)["model_state_dict"]
        mine = module.state_dict()
        drawn = {name: torch.tensor(modes) for name, modes in self.content.get("frequency_indices", {}).items()}
        found = {ours: tensor for name, tensor in {**stored, **drawn}.items() if (ours := self.ours(name))}
        said = {mine[name].data_ptr(): tensor for name, tensor in found.items()}
        found |= {name: said[each.data_ptr()] for name, each in mine.items() if each.data_ptr() in said}  # shared
        assert found.keys() == mine.keys(), sorted(found.keys() ^ mine.keys())
        return {name: _as(tensor, mine[name]) for name, tensor in found.items()}

    def ours(self, name: str) -> str:
        """What we call a weight of the case; "" for one that we do without."""
        for pattern, new in self.model.names:
            if new == "" and re.search(pattern, name):
                return ""
            name = re.sub(pattern, new, name)
        return name

    def forecast(self, module: nn.Module) -> Tensor:
        """(B, H, C), of the case's inputs."""
        asked, arrays = forecaster(self.name).wants, self.arrays  # type: ignore[attr-defined]
        given = {}
        if asked.calendar:
            horizon = arrays["decoder_mark"][:, -arrays["y"].shape[1] :]
            given["calendar"] = torch.cat([arrays["x_mark"], horizon], dim=1)
        if asked.rows:
            given["rows"] = arrays["cycle_index"]
        output = module(arrays["x"], **given)
        return output[0] if isinstance(output, tuple) else output


def cases() -> list[Path]:
    found = sorted(FOLDER.glob("*.json"))
    assert found, f"no golden cases in {FOLDER}"
    return found


def _as(tensor: Tensor, mine: Tensor) -> Tensor:
    """A convolution over one step is a linear map."""
    return tensor.squeeze(-1) if tensor.ndim == mine.ndim + 1 and tensor.shape[-1] == 1 else tensor
