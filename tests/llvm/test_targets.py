"""Targets: what this machine is, what others are, and what renderers may ask of them."""

from __future__ import annotations

import pytest

import weft as wf
from weft.core import config
from weft.core.config import Settings, settings
from weft.core.errors import CompileError
from weft.llvm import targets
from weft.llvm.assembly import assemble
from weft.llvm.targets import HOST_ISAS, Host, Target, cross_target, host_target

CROSS = [*targets._CROSS, "nvptx64", "nvptx64-sm_80"]
AVX2 = ("+avx2", "+f16c", "+fma", "+sse4.2")
AVX512 = (*AVX2, "+avx512bw", "+avx512dq", "+avx512f", "+avx512vl", "+avx10.1")
HOSTS = {  # triple, CPU, features: the ISAS that it runs
    ("x86_64-unknown-linux-gnu", "nehalem", ("+sse4.2", "-avx2")): ["generic"],
    ("x86_64-unknown-linux-gnu", "haswell", (*AVX2, "-avx512f")): ["generic", "avx2"],
    ("x86_64-unknown-linux-gnu", "odd", ("+avx2", "+f16c", "-fma")): ["generic"],
    ("x86_64-unknown-linux-gnu", "skylake-avx512", AVX512): ["generic", "avx2", "avx512"],
    ("x86_64-unknown-linux-gnu", "knl", (*AVX2, "+avx512f", "-avx512vl")): ["generic", "avx2"],
    ("aarch64-unknown-linux-gnu", "neoverse-n1", ("+neon", "+sve")): ["generic", "neon"],
    ("arm64-apple-darwin", "apple-m1", ("+neon",)): ["generic", "neon"],
}


def host_isas() -> list[str]:
    """Every ISA that this machine can run."""
    found = []
    for isa in HOST_ISAS:
        try:
            host_target(isa)
        except CompileError:
            continue
        found.append(isa)
    return found


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host[1])
def test_a_machine_runs_what_its_features_allow_and_by_itself_the_best(
    host: tuple[str, str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "host", lambda: Host(*host))
    choose = targets._host_target.__wrapped__
    for isa in HOST_ISAS:
        if isa not in HOSTS[host]:
            with pytest.raises(CompileError, match=f"cannot run {isa} code; it runs {', '.join(HOSTS[host])}"):
                choose(isa)
    chosen = {isa: choose(isa) for isa in HOSTS[host]}
    assert choose(None) == chosen[HOSTS[host][-1]]
    base = {"generic": "neon"} if host[0].startswith("a") else {"generic": "sse2"}
    assert {isa: target.isa for isa, target in chosen.items()} == {isa: base.get(isa, isa) for isa in chosen}
    assert chosen["generic"].features == "" and chosen["generic"].cpu in ("x86-64", "generic")
    if "avx2" in chosen:
        assert "+avx512" not in chosen["avx2"].features and "avx10" not in chosen["avx2"].features
        assert chosen["avx2"].features.endswith(",-avx512f")
    if "avx512" in chosen:
        assert chosen["avx512"].features == ",".join((*host[2], "-prefer-256-bit"))


def test_a_machine_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "host", lambda: Host("s390x-ibm-linux", "z14", ()))
    with pytest.raises(CompileError, match="does not generate code for machines like this one"):
        targets._host_target.__wrapped__(None)


@pytest.mark.parametrize("name", CROSS)
def test_every_target_has_its_row(name: str) -> None:
    target = cross_target(name)
    assert target.vector_bits % 128 == 0 and (target.num_vector_registers > 0) is (target.vector_bits > 0)
    assert target.is_gpu is name.startswith("nvptx") and target.relocation in ("pic", "static")


def test_targets_describe_their_vectors() -> None:
    assert (cross_target("aarch64-linux-gnu").vector_bits, cross_target("nvptx64").vector_bits) == (128, 0)
    for isa, bits, registers, masked in (("avx512", 512, 32, True), ("avx2", 256, 16, False)):
        if isa in host_isas():
            found = host_target(isa)
            assert (found.vector_bits, found.num_vector_registers, found.masked_memory) == (bits, registers, masked)


def test_target_keys_are_equal_only_for_equal_targets() -> None:
    found = [*(host_target(isa) for isa in host_isas()), *(cross_target(name) for name in CROSS)]
    assert len({target.key for target in found}) == len(set(found))
    assert host_target() is host_target() and host_target() == host_target(host_target().isa.replace("sse2", "generic"))


def test_an_isa_that_the_host_lacks_and_an_unknown_target_are_refused() -> None:
    missing = next(isa for isa in ("neon", "avx512") if isa not in host_isas())
    with pytest.raises(CompileError, match=f"cannot run {missing} code"):
        host_target(missing)
    with pytest.raises(CompileError, match="no target 'pdp11'"):
        cross_target("pdp11")
    with pytest.raises(CompileError, match="does not know the target"):
        assemble("define void @f() {\n  ret void\n}", Target("pdp11-dec-unix", "", "", "sse2"))


def test_an_isa_that_there_is_not_is_refused_where_it_is_set_and_where_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong, before = r"isa \(WEFT_ISA\) is 'sse9'; it must be one of generic, avx2, avx512, neon", settings()
    with pytest.raises(ValueError, match=wrong):
        wf.configure(isa="sse9")
    assert settings() == before
    monkeypatch.setattr(config, "_current", Settings.from_environment({"WEFT_ISA": "sse9"}))
    with pytest.raises(ValueError, match=wrong):
        host_target()
