"""Models of timm, torchvision and transformers as cores, against torch itself; no network."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.cores.origins import torch_export
from tests.support.making import ROOT
from tests.support.servers import COMMIT, Hub

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

SPEC = '{"mode": "RGB", "fit": "squash", "resize": [32, 32], "scale": 0.01, "mean": [1, 1, 1]}'
CLOSE = 1e-4


@pytest.fixture
def vision() -> Any:
    try:
        return torch_export.torchvision()
    except dof.MissingExtra:
        pytest.skip("torchvision is not installed")


def _inputs(core: dof.Core, rows: int = 3) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(1)
    return np.stack(
        [core.prepare(rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)) for _ in range(rows)]
    )


def _agree(core: dof.Core, own: Any) -> None:
    """The core gives what torch gives for the same tensors, whatever the batch."""
    inputs = _inputs(core)
    with torch.no_grad():
        expected = own(torch.from_numpy(inputs)).numpy()
    assert np.abs(core.run(inputs) - expected).max() <= CLOSE
    assert np.abs(core.run(inputs[:1]) - expected[:1]).max() <= CLOSE


def test_a_cnn_of_timm_carries_its_preprocessing(vision: Any) -> None:
    """C2, D1: the pooled features, equal to torch's; cut and exported alike each time."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = timm.create_model("test_efficientnet", pretrained=False, num_classes=7)
    core = dof.Core.from_torch(module, license="Apache-2.0")
    assert module.training and core.preprocessing.crop == (160, 160)
    module.eval()
    _agree(core, lambda x: module.forward_head(module.forward_features(x), pre_logits=True))
    about = core.describe()
    assert (about.license, about.source) == ("Apache-2.0", "timm.models.efficientnet.EfficientNet")


def test_a_vit_of_torchvision(vision: Any) -> None:
    """The class token before the head."""
    torch.manual_seed(0)
    module = vision.models.VisionTransformer(32, 16, 1, 2, 16, 32, num_classes=5)
    core = dof.Core.from_torch(module, preprocess=SPEC, name="vit")
    assert core.output_shape == (16,)
    module.heads = torch.nn.Identity()
    module.eval()
    _agree(core, module)


def test_a_module_makes_the_same_core_each_time() -> None:
    layers = (
        torch.nn.Conv2d(3, 8, 5),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    )
    module = torch.nn.Sequential(*layers, torch.nn.Linear(8, 3))
    first, second = (dof.Core.from_torch(module, preprocess=SPEC, name="small") for _ in range(2))
    assert first.data == second.data and first.output_shape == (8,)
    _agree(first, module[:4])


def test_a_clip_of_transformers(vision: Any) -> None:
    """An output by its name; the image processor says the preprocessing."""
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        patch_size=16,
        intermediate_size=32,
        image_size=32,
        projection_dim=8,
    )
    torch.manual_seed(0)
    module = transformers.CLIPVisionModelWithProjection(config).eval()
    core = dof.Core.from_torch(module, preprocess=SPEC, at="image_embeds")
    _agree(core, lambda x: module(x).image_embeds)
    assert core.output_shape == (8,)


def test_what_cannot_be_made_is_said() -> None:
    class Odd(torch.nn.Module):  # type: ignore[misc]
        def forward(self, picture: Any) -> Any:
            raise ValueError("two pictures, please")

    with pytest.raises(dof.UsageError, match="carries no preprocessing, and it is never guessed"):
        dof.Core.from_torch(Odd())
    with pytest.raises(dof.UsageError, match="size of the model's input is open"):
        dof.Core.from_torch(Odd(), preprocess='{"mode": "RGB", "fit": "none"}')
    with pytest.raises(
        dof.CoreError, match="torch cannot export the module: found two pictures, please"
    ):
        dof.Core.from_torch(Odd(), preprocess="unit")


def test_names_that_timm_has_not(vision: Any) -> None:
    pytest.importorskip("timm")
    with pytest.raises(
        dof.UsageError, match=r"no pretrained model of this name\. Did you mean resnet50"
    ):
        dof.Core.load("timm:resnet50.a1_in2k")
    with pytest.raises(dof.CoreError, match="timm has no safetensors file for this model"):
        dof.Core.load(f"timm:{_pickled()}")


def _pickled() -> str:
    """A model of timm whose weights are in a form that is not read here."""
    import timm

    return next(
        name for name in timm.list_pretrained() if not timm.get_pretrained_cfg(name).hf_hub_id
    )


_CARD = b"---\nlicense: mit\n---\n"
# No other test leaves a file of this name in the folder of all.
_LAID = "laid-by-the-hub"
_LIARS = {"test_vit": f"{{folder}}/{_LAID}", "test_efficientnet": f"../../../../{_LAID}"}
# One process for all: torch and timm take seconds to load.
_PRETRAINED = """
import sys, torch, dof_arrow as dof
from dof_arrow.cores.origins import torch_export as torch_models
torch_models.torchvision()
import timm
core = dof.Core.load("timm:test_resnet")
about = core.describe()
print(about.source, about.source_sha256, about.license, about.name)
import numpy, safetensors.torch
module = timm.create_model("test_resnet", num_classes=0).eval()
weights = safetensors.torch.load_file(sys.argv[1])
module.load_state_dict({k: v for k, v in weights.items() if not k.startswith("fc.")})
x = core.prepare(numpy.arange(160 * 160 * 3, dtype="uint8").reshape(160, 160, 3))[None]
print(numpy.abs(core.run(x) - module(torch.from_numpy(x)).detach().numpy()).max() <= 1e-4)
for name in sys.argv[2:]:
    try:
        torch_models.pretrained(name)
    except dof.CoreError as error:
        print(error)
"""


class Fetched(NamedTuple):
    """What a process said that asked a hub for models of timm, with a folder as its home."""

    said: list[str]
    weights: Path
    home: Path


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Fetched:
    """A model of a hub on the loopback, and others whose hub says where their weights go."""
    timm = pytest.importorskip("timm")
    safetensors = pytest.importorskip("safetensors.torch")
    folder = tmp_path_factory.mktemp("timm")
    home = folder / "home"
    home.mkdir(mode=0o700)
    torch.manual_seed(0)
    weights = folder / "model.safetensors"
    safetensors.save_file(timm.create_model("test_resnet").state_dict(), weights)
    files = {"model.safetensors": weights.read_bytes(), "README.md": _CARD}
    site = Hub({"timm/test_resnet.r160_in1k": files})
    for name, tag in _LIARS.items():
        repository = f"timm/{name}.r160_in1k"
        site.repositories[repository] = {"model.safetensors": bytes(2000)}
        site.lies[repository] = [{"X-Linked-Etag": tag.format(folder=folder)}]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    with site.serving() as address:
        own = {
            "HF_ENDPOINT": address,
            "HF_HOME": str(home / "hub"),
            "HOME": str(home / "user"),
            "XDG_CACHE_HOME": str(home),
            "no_proxy": "*",
            "PYTHONPATH": str(ROOT) + os.pathsep + os.environ.get("PYTHONPATH", ""),
        }
        made = subprocess.run(
            [sys.executable, "-c", _PRETRAINED, weights, *_LIARS],
            capture_output=True,
            text=True,
            env={**plain, **own},
            check=False,
        )
    assert made.returncode == 0, made.stderr
    return Fetched(made.stdout.splitlines(), weights, folder)


def test_a_model_of_timm_by_its_name(vision: Any, fetched: Fetched) -> None:
    """`timm:NAME` in full: weights from a hub on the loopback, timm's loader, export, cut, run."""
    digest = hashlib.sha256(fetched.weights.read_bytes()).hexdigest()
    assert fetched.said[:2] == [
        f"timm:test_resnet@{COMMIT} {digest} Apache-2.0 test_resnet",
        "True",
    ]


def test_weights_of_timm_go_where_no_hub_says(vision: Any, fetched: Fetched) -> None:
    """timm would fetch them by huggingface_hub, which takes the hub's ETag for a path."""
    refused = fetched.said[2:]
    assert len(refused) == len(_LIARS)
    assert all("does not answer as a hub does" in line for line in refused), refused
    assert not list(fetched.home.rglob(f"*{_LAID}*"))
    assert not list(fetched.home.parent.glob(f"*{_LAID}*"))
