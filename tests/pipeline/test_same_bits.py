"""The stages give the same bits whatever processor the libraries believe to be on."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hume_turtle.runtime import is_x86
from tests.pipeline.test_stages import PARAMS, stage

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
WITHOUT_AVX512 = "-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD"
OTHERS = {  # what makes libraries here choose as they would on such a processor
    "avx2": {
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "GLIBC_TUNABLES": f"glibc.cpu.hwcaps={WITHOUT_AVX512}",
    },
    "zen3": {},  # and zen3.c
}


@pytest.fixture(scope="module")
def zen3(tmp_path_factory) -> dict[str, str]:
    """Variables with which a process sees an AMD processor's vendor, instructions and caches."""
    if platform.system() != "Linux" or not shutil.which("gcc"):
        pytest.skip("needs Linux and gcc")
    library = tmp_path_factory.mktemp("zen3") / "zen3.so"
    source = HELPERS / "zen3.c"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    variables = {"LD_PRELOAD": str(library)}
    if subprocess.run(["true"], env={**os.environ, **variables}, check=False).returncode:
        pytest.skip("the kernel cannot let CPUID fault on this processor")
    return variables


def digests(folder: Path) -> dict[str, str]:
    """Run a small suite up to its scores in an empty folder: file to digest."""
    params = {**PARAMS, "datasets": ["digits"], "baselines": {"seeds": [0]}}
    params["pretrain"] = {"seed": 0, "letters": {"steps": 30}, "moco": {"steps": 20}}
    hume = {**PARAMS["fit"]["hume"]["settings"], "outer_steps": 4}
    turtle = {**PARAMS["fit"]["turtle"]["settings"], "outer_steps": 60}
    methods = {"hume": {**PARAMS["fit"]["hume"], "settings": hume}, "turtle": {"settings": turtle}}
    params["fit"] = {**PARAMS["fit"], "seeds": [0, 1], **methods}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    stage(folder, "pretrain")
    for name in ("embed", "fit", "baselines"):
        stage(folder, name, "digits")
    made = sorted(path for path in (folder / "data").rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in made}


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> dict[str, str]:
    return digests(tmp_path_factory.mktemp("here"))


@pytest.mark.skipif(not is_x86(), reason="other processors keep their own last bits")
@pytest.mark.parametrize("processor", OTHERS)
def test_the_bits_are_those_of_another_processor(processor, here, tmp_path, monkeypatch, request):
    variables = request.getfixturevalue("zen3") if processor == "zen3" else OTHERS[processor]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    there = digests(tmp_path)
    assert len(there) > 20
    assert [path for path in here | there if here.get(path) != there.get(path)] == []


def test_the_simulated_processors_matter(zen3):
    """Without the variables of a suite, the bits of a plain product differ between the two."""
    code = "import torch; x = torch.linspace(-1, 1, 65_536).sin().view(256, 256); "
    code += "print((x @ x).tolist())"
    printed = [
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
        for env in (None, {**os.environ, **zen3})
    ]
    assert printed[0].stdout != printed[1].stdout
