"""Heads of timm's families: cut where timm itself says that features end (`forward_head`, `pre_logits`).

`python -m tests.torture.timm_heads [NAME …]` exports one model of each family with random weights, on small
pictures, cuts it, and compares. Models lie in a temporary folder and go with it; what was found stays in
`results/timm_heads.json`, and a family that stands there is not tried again.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores import cut
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.origins.torch_export import torchvision
from dof_arrow.errors import DofError

Array = NDArray[Any]
Found = dict[str, Any]

KEPT = Path(__file__).with_name("results") / "timm_heads.json"
CLOSE = 1e-4  # of the largest feature
ALIKE = 0.9  # cosine of features before and after quantisation
CLASSES = 10

# The smallest model of a family, and a side of pictures that it takes.
_FAMILIES = """
resnet18:64 resnetv2_50:64 seresnet18:64 resnest14d:64 res2net50_26w_4s:64 skresnet18:64 cspresnet50:64 senet154:64
resnet50_clip:64 botnet26t_256:256 lambda_resnet26t:256 regnetx_002:64 repvgg_a0:64 mobileone_s0:64 rexnet_100:64
densenet121:64 rdnet_tiny:64 dpn48b:64 vovnet39a:64 ese_vovnet19b_dw:64 dla34:64 dla46x_c:64 hrnet_w18_small:64
selecsls42:64 tresnet_m:64 xception41:64 inception_v3:96 inception_v4:96 inception_resnet_v2:96 vgg11:224
nfnet_l0:64 test_nfnet:64 efficientnet_b0:64 efficientnet_lite0:64 tinynet_e:64 mnasnet_small:64 lcnet_050:64
fbnetc_100:64 spnasnet_100:64 hardcorenas_a:64 mobilenetv3_small_050:64 mobilenetv4_conv_small_050:64 ghostnet_050:64
hgnetv2_b0:64 starnet_s1:64 fasternet_t0:64 shvit_s1:64 repvit_m0_9:64 fastvit_t8:64 mobilevit_xxs:64
mobilevitv2_050:64 edgenext_xx_small:64 efficientformer_l1:224 efficientformerv2_s0:224 swiftformer_xs:64
efficientvit_b0:64 efficientvit_m0:64 convnext_atto:64 convmixer_768_32:64 inception_next_atto:64 mambaout_femto:64
focalnet_tiny_srf:64 poolformer_s12:64 caformer_s18:64 vit_tiny_patch16_224:64 vit_little_patch16_reg4_gap_256:64
vit_base_patch16_siglip_224:64 vit_small_patch14_reg4_dinov2:56 vit_small_patch16_dinov3:64 eva02_tiny_patch14_224:56
vit_relpos_small_patch16_224:64 vit_tiny_r_s16_p8_224:64 samvit_base_patch16_224:64 vitamin_small_224:64
test_vit2:64 test_vit3:64 deit_tiny_distilled_patch16_224:64 beit_base_patch16_224:64 cait_xxs24_224:64
xcit_nano_12_p16_224:64 convit_tiny:64 pit_ti_224:224 pit_ti_distilled_224:224 tnt_s_legacy_patch16_224:224
crossvit_tiny_240:240 volo_d1_224:224 levit_128s:224 tiny_vit_5m_224:224 swin_tiny_patch4_window7_224:64
swinv2_cr_tiny_224:224 nest_tiny:224 pvt_v2_b0:64 twins_pcpvt_small:64 coat_tiny:64 coatnet_nano_rw_224:224
maxvit_pico_rw_256:64 mvitv2_tiny:64 gcvit_xxtiny:224 hiera_tiny_224:224 davit_tiny:64 nextvit_small:64
visformer_tiny:224 sequencer2d_s:64 mixer_s32_224:224 resmlp_12_224:224 gmlp_ti16_224:224
"""
# Quantised too, with weights alone (dynamic) and with activations (QDQ).
_QUANTISED = """
resnet18 regnetx_002 mobilenetv3_small_050 efficientnet_lite0 lcnet_050 convnext_atto edgenext_xx_small
vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 xcit_nano_12_p16_224 pvt_v2_b0 levit_128s test_vit2
"""
FAMILIES = dict(family.split(":") for family in _FAMILIES.split())
QUANTISED = frozenset(_QUANTISED.split())


def main(names: Sequence[str] = ()) -> None:
    """Try every family that was not tried yet, or those of `names` again."""
    found: dict[str, Found] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name, side in FAMILIES.items():
        if name in names or (not names and name not in found):
            found[name] = tried(name, int(side))
            KEPT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
            print(name, json.dumps(found[name]), flush=True)
    print(dict(Counter(each["verdict"] for each in found.values())))


def tried(name: str, side: int) -> Found:
    """One family: where it was cut, and whether that is where timm's own features end."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        try:
            pictures, features, scores = exported(name, side, file)
        except Exception as error:  # whatever torch's exporter raises
            return {"verdict": "not exported", "why": str(error).splitlines()[0][:200]}
        found = judged(file, pictures, features, scores, CLOSE)
        if name in QUANTISED:
            for kind in ("dynamic", "qdq"):
                small = quantised(file, pictures, kind)
                found[kind] = judged(small, pictures, features, scores, None)
    return found


def exported(name: str, side: int, file: Path) -> tuple[Array, Array, Array]:
    """Export a model of random weights; pictures, timm's features of them, and their scores."""
    torchvision()
    import timm
    import torch

    torch.manual_seed(0)
    timm.layers.set_fused_attn(False)
    try:
        module = timm.create_model(name, pretrained=False, num_classes=CLASSES, img_size=side)
    except TypeError:  # a convolutional network takes any size
        module = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    _shaken(module.eval())
    pictures = torch.randn(2, 3, side, side)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        features = module.forward_head(module.forward_features(pictures), pre_logits=True)
        scores = module(pictures)
        held = io.BytesIO()
        torch.onnx.export(
            module,
            (pictures,),
            held,
            dynamo=False,
            opset_version=18,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "N"}},
        )
    file.write_bytes(held.getvalue())
    return pictures.numpy(), features.numpy().reshape(2, -1), scores.numpy()


def _shaken(module: Any) -> None:
    """Move what training would have moved: statistics that are 0 and 1, weights that are 0."""
    import torch

    for name, kept in module.named_buffers():
        if name.endswith("running_mean"):
            kept.normal_(std=0.1)
        if name.endswith("running_var"):
            kept.uniform_(0.5, 1.5)
    with torch.no_grad():
        for weights in module.parameters():
            if not weights.any():
                weights.normal_(std=0.05)


def quantised(file: Path, pictures: Array, kind: str) -> Path:
    """The model quantised by ONNX Runtime."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready, made = file.with_name("ready.onnx"), file.with_name(f"{kind}.onnx")
    quant_pre_process(str(file), str(ready), skip_symbolic_shape=True)
    if kind == "dynamic":
        quantization.quantize_dynamic(ready, made)
        return made

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        left = [{"input": pictures}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    quantization.quantize_static(ready, made, Reader())
    return made


def judged(
    file: Path, pictures: Array, features: Array, scores: Array, close: float | None
) -> Found:
    """What became of a model: "equal", "halves" (of two tokens side by side), "unclear" or worse.

    Where `close` is None the model is quantised, and features need only point the same way.
    """
    try:
        made = cut.cut(graph.load(file))
    except DofError as error:
        unclear = "no single place" in str(error)
        return {"verdict": "unclear" if unclear else "refused", "why": str(error)[:300]}
    runner = graph.session(graph.to_bytes(made.model))
    parts = [graph.run(runner, {"input": pictures[i : i + 1]})[0] for i in range(len(pictures))]
    own = np.concatenate(parts).reshape(len(pictures), -1)
    return {"verdict": verdict(own, features, scores, close), "cut": made.tensor}


def verdict(own: Array, features: Array, scores: Array, close: float | None) -> str:
    """How features of ours compare with timm's."""
    if own.shape == scores.shape and _agree(own, scores, close):
        return "CLASS SCORES"
    if own.shape == features.shape:
        return "equal" if _agree(own, features, close) else "other features"
    if own.shape[1] == 2 * features.shape[1]:
        halves = own.reshape(len(own), 2, -1).mean(axis=1)
        return "halves" if _agree(halves, features, close) else "other features"
    return "other features"


def _agree(own: Array, expected: Array, close: float | None) -> bool:
    if close is not None:
        return bool(np.abs(own - expected).max() <= close * np.abs(expected).max())
    lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(expected, axis=1)
    return bool(((own * expected).sum(axis=1) >= ALIKE * lengths).all())


if __name__ == "__main__":
    main(sys.argv[1:])
