"""What `dof doctor CORE` measures: each provider in turn, and which is worth asking for."""

from __future__ import annotations

import pytest

from dof_arrow.cores import builtin, provider_rates
from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import openvino_session
from dof_arrow.cores.provider_rates import ProviderRate
from tests.support import models

GREY = '{"mode": "L", "fit": "squash", "resize": [16, 16], "scale": 0.0039}'


def rate(name: str, gain: float, per_second: float = 1.0, start: float = 0.0) -> ProviderRate:
    return ProviderRate(provider=name, gain=gain, per_second=per_second, start_seconds=start)


def test_the_default_is_first_and_what_cannot_run_says_why() -> None:
    core = builtin.load(pool="1x1")
    cpu, *others = provider_rates.provider_rates(core, ["tensorrt", "cpu"], seconds=0.01)
    assert cpu.provider == "cpu" and cpu.gain == 1 and cpu.differs == 0
    assert (cpu.per_second or 0) > 0 and cpu.refused is None
    (other,) = others
    assert other == ProviderRate(
        provider="tensorrt", refused="no such execution provider here: found tensorrt"
    )


@pytest.mark.skipif(not openvino_session.is_installed(), reason="openvino not installed")
@pytest.mark.parametrize("name", ["vit", "sixteen"])
def test_openvino_is_measured_beside_it(name: str) -> None:
    """Also for a core of a fixed batch."""
    squashed = GREY.replace('"L"', '"RGB"')
    data = graph.to_bytes(getattr(models, name)())
    core = Core.from_bytes(data, name=name, preprocess=squashed)
    found = provider_rates.provider_rates(core, ["openvino"], seconds=0.01)
    assert [each.provider for each in found] == ["cpu", "openvino"]
    assert 0 <= (found[1].differs or 0) < 1e-3 and (found[1].gain or 0) > 0


def test_only_what_is_enough_faster_is_recommended() -> None:
    cpu, refused = rate("cpu", 1.0), ProviderRate(provider="azure", refused="no")
    assert provider_rates.recommended([cpu, rate("openvino", 1.09), refused]) is None
    best = rate("cuda", 9.0)
    assert provider_rates.recommended([cpu, best, rate("openvino", 1.2)]) is best


def test_what_starts_sooner_pays_from_the_first_picture_on() -> None:
    cpu = rate("cpu", 1.0, 50, start=1.0)
    assert provider_rates.pays_from(rate("x", 2.0, 100, start=0.5), cpu) == 0
    assert provider_rates.pays_from(rate("x", 2.0, 100, start=2.0), cpu) == 100
