"""Precision of the products: what is chosen, and that the choice changes next to nothing."""

import pytest
import torch

from hume_turtle import Turtle
from hume_turtle.core import precision
from hume_turtle.core.precision import check_precision, has_bf16, pick_precision
from tests.helpers.parity import digits

CPU = torch.device("cpu")


def test_a_choice_is_taken_at_its_word_and_auto_asks_the_machine(monkeypatch):
    assert pick_precision("fp32", CPU) == torch.float32
    assert pick_precision("bf16", CPU) == torch.bfloat16
    for native, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precision, "has_bf16", lambda device, native=native: native)
        assert pick_precision("auto", CPU) == dtype


@pytest.mark.parametrize("bad", ["fp16", "", None, torch.float32])
def test_other_precisions_are_refused(bad):
    with pytest.raises(ValueError, match="fp32"):
        check_precision(bad)


def test_bf16_is_worth_it_where_the_processor_has_the_instructions(monkeypatch):
    capability = "AVX512"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    for amx, avx512, expected in ((True, False, True), (False, True, True), (False, False, False)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        name = "_is_avx512_bf16_supported"
        monkeypatch.setattr(torch.cpu, name, lambda avx512=avx512: avx512, raising=False)
        assert has_bf16(CPU) == expected
        assert not has_bf16(torch.device("meta"))
    monkeypatch.setattr(torch.cpu, name, lambda: True, raising=False)
    assert has_bf16(CPU)
    capability = "AVX2"  # by ATEN_CPU_CAPABILITY, on a processor that could
    assert not has_bf16(CPU)


@pytest.mark.slow
@pytest.mark.parametrize("names", [["glyphs_like"], ["moco_like", "glyphs_like"]])
def test_bf16_changes_at_most_two_labels_in_a_thousand(names):
    spaces, _ = digits(names)
    settings = {"warm_start": True, "outer_steps": 2000}
    labels = [
        Turtle(10, **settings, precision=name).fit(spaces).labels_ for name in ("fp32", "bf16")
    ]
    assert (labels[0] != labels[1]).mean() <= 0.002
