"""The C code computes what onnxruntime computes, compiles without a warning, and allocates nothing."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from robo_ppo.errors import UserError
from robo_ppo.export.bundle import parse_model, write_bundle
from robo_ppo.export.c_code import STRICT, self_test, write_c
from robo_ppo.export.c_names import identifier
from robo_ppo.run.folder import shipped_policies
from robo_ppo_onboard.bundle import Bundle, read_bundle
from robo_ppo_onboard.contract import Contract
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.verify import TOLERANCE
from tests.export.in_c import Gru, InC, Reflex, bundle_of, in_order, plausible

INPUTS = 10_000


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, model: onnx.ModelProto, contract: Contract) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    torch.manual_seed(1)
    write_bundle(folder / "pilot.onnx", model, replace(contract, task="pilot"))
    return {
        "pilot": read_bundle(folder / "pilot.onnx"),
        "gru": bundle_of(Gru().eval(), folder / "gru.onnx", "gru"),
        "reflex": bundle_of(Reflex().eval(), folder / "reflex.onnx", "reflex"),
        **{name: read_bundle(path) for name, path in shipped_policies().items()},
    }


@pytest.fixture(scope="module")
def sources(bundles: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The code of each, not to be written to."""
    folder = tmp_path_factory.mktemp("sources")
    return {name: write_c(bundle, folder) for name, bundle in bundles.items()}


@pytest.mark.parametrize("name", ["pilot", "gru", "reflex", *shipped_policies()])
def test_c_computes_what_onnxruntime_computes(name: str, bundles: dict[str, Bundle], sources: dict[str, Path]) -> None:
    contract, policy = bundles[name].contract, Policy(bundles[name])
    compiled = InC(contract, sources[name])
    measured, states = plausible(contract, INPUTS)
    expected, expected_states = policy(measured, states)
    rows = in_order(contract.inputs, measured)
    commands = np.empty((INPUTS, len(compiled.step(rows[0], compiled.initial_state()))), np.float32)
    after = np.ascontiguousarray(states) if contract.state else np.zeros((INPUTS, 1), np.float32)
    for i in range(INPUTS):
        commands[i] = compiled.step(rows[i], after[i])
    wanted = in_order(contract.outputs, expected)
    scale = np.maximum(1.0, np.abs(wanted).max(0))
    assert np.abs(wanted).max() > 0.1
    assert (np.abs(commands - wanted) / scale).max() <= TOLERANCE
    if contract.state:
        assert np.abs(after - expected_states).max() <= TOLERANCE
        assert np.array_equal(compiled.initial_state(), contract.initial_state)


def test_a_long_sequence_with_the_state_fed_back(bundles: dict[str, Bundle], sources: dict[str, Path]) -> None:
    bundle = bundles["gru"]
    compiled, policy = InC(bundle.contract, sources["gru"]), Policy(bundle)
    measured, _ = plausible(bundle.contract, 500)
    rows, mine, theirs = in_order(bundle.contract.inputs, measured), compiled.initial_state(), policy.initial_state()
    for i in range(500):
        commands = compiled.step(rows[i], mine)
        expected, theirs = policy({name: values[i : i + 1] for name, values in measured.items()}, theirs)
        assert np.abs(commands - in_order(bundle.contract.outputs, expected)[0]).max() <= TOLERANCE
    assert np.abs(mine - theirs[0]).max() <= TOLERANCE


@pytest.mark.parametrize("options", [("-O3", "-march=native"), ("-Og", "-fsanitize=undefined,address")])
def test_the_self_test_passes(sources: dict[str, Path], options: tuple[str, ...]) -> None:
    for name in ("pilot", "gru", "reflex"):
        assert self_test(sources[name], options) <= TOLERANCE


def test_the_self_test_fails_where_a_weight_was_altered(sources: dict[str, Path], tmp_path: Path) -> None:
    source = Path(shutil.copy(sources["uav_hover"], tmp_path))
    shutil.copy(sources["uav_hover"].with_suffix(".h"), tmp_path)
    text = source.read_text()
    weights = text.index("{", text.index("static const EMX_UNUSED float weight1_"))
    number = re.compile(r"-?0x1\.").search(text, weights)
    assert number is not None
    source.write_text(text[: number.start()] + "0x3." + text[number.end() :])
    assert self_test(source) > TOLERANCE
    program = tmp_path / "altered"
    options = ["-DUAV_HOVER_SELF_TEST_MAIN", str(source), "-lm", "-o", str(program)]
    subprocess.run(["cc", *STRICT, *options], check=True)
    assert subprocess.run([program], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("name", ["gru", "uav_nav"])
def test_nothing_is_allocated_and_nothing_is_kept(name: str, sources: dict[str, Path], tmp_path: Path) -> None:
    source = sources[name]
    text = re.sub(r"/\*.*?\*/", "", source.read_text(), flags=re.DOTALL)
    assert not re.search(r"\b(malloc|calloc|realloc|free|alloca|fopen)\b", text)
    subprocess.run(["cc", *STRICT, "-Os", "-c", str(source), "-o", "policy.o"], cwd=tmp_path, check=True)
    symbols = subprocess.run(["nm", "policy.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    kinds = {line.split()[-1]: line.split()[-2] for line in symbols.splitlines()}
    assert not [symbol for symbol, kind in kinds.items() if kind in "bBdDC"], "no variable outlives a step"
    assert {symbol for symbol, kind in kinds.items() if kind in "TR"} == {f"{name}_reset", f"{name}_step"}
    mathematics = {f"{f}f" for f in "sqrt pow exp expm1 tanh fmax fmin fabs log".split()}
    assert {symbol for symbol, kind in kinds.items() if kind == "U"} <= mathematics | {"memcpy", "memset"}


def test_two_policies_go_into_one_firmware(sources: dict[str, Path], tmp_path: Path) -> None:
    main, two = tmp_path / "main.c", [sources["uav_hover"], sources["reflex"]]
    main.write_text('#include "uav_hover.h"\n#include "reflex.h"\nint main(void) { return 0; }\n')
    command = ["cc", *STRICT, f"-I{two[0].parent}", str(main), *map(str, two), "-lm", "-o", str(tmp_path / "firmware")]
    subprocess.run(command, check=True)


def test_the_header_states_the_contract(bundles: dict[str, Bundle], sources: dict[str, Path]) -> None:
    bundle = bundles["uav_nav"]
    header = sources["uav_nav"].with_suffix(".h").read_text()
    for text in (
        f'#define UAV_NAV_BUNDLE_SHA256 "{bundle.contract.sha256}"',
        "#define UAV_NAV_CONTROL_PERIOD 0.02f /* s */",
        "#define UAV_NAV_RANGES_SIZE 24",
        "#define UAV_NAV_ROLL_RATE_MIN (-6.0f) /* rad/s */",
        "#define UAV_NAV_LIMIT_MAX_ROLL_RATE_RAD_S (18.0f)",
        "float attitude[4]; /* 1; body to world; quaternion wxyz; trained with noise 0.01 */",
        "void uav_nav_step(const uav_nav_input *in, uav_nav_state *state, uav_nav_output *out);",
    ):
        assert text in header
    members = re.findall(r"^    float (\w+)", header, re.MULTILINE)
    ports = [port.name for port in (*bundle.contract.inputs, *bundle.contract.outputs)]
    assert members == [*ports, "values"]


def test_names_and_texts_that_c_would_not_take(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    bundle = bundles["reflex"]
    old, contract = parse_model(bundle.model), bundle.contract
    names = {"gyro": "2nd-gyro */ µ", "ranges": "double", "thrust": "a b", "rates": "a-b"}
    for value in (*old.graph.input, *old.graph.output):
        value.name = names[value.name]
    for node in old.graph.node:
        for where in (node.input, node.output):
            where[:] = [names.get(name, name) for name in where]
    golden = contract.golden
    renamed = replace(
        contract,
        task='9 "lives" \\ of Ünïcode',
        robot="*/ int x; /*",
        inputs=tuple(replace(p, name=names[p.name], note="*/ #error \n") for p in contract.inputs),
        outputs=tuple(replace(p, name=names[p.name], unit="N·m²") for p in contract.outputs),
        fallback=replace(contract.fallback, numbers={names[name]: 0.0 for name in contract.fallback.numbers}),
        golden=replace(
            golden,
            inputs={names[name]: values for name, values in golden.inputs.items()},
            outputs={names[name]: values for name, values in golden.outputs.items()},
        ),
    )
    write_bundle(tmp_path / "odd.onnx", old, renamed)
    source = write_c(read_bundle(tmp_path / "odd.onnx"), tmp_path)
    assert source.name == "p_9_lives_of_n_code.c"
    header = source.with_suffix(".h").read_text()
    assert re.findall(r"^    float (\w+)", header, re.MULTILINE) == ["p_2nd_gyro", "double_", "a_b", "a_b_2", "values"]
    assert self_test(source) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        ("uav_nav", (), "uav_nav"),
        ("int", (), "int_"),
        ("A-1", ("a_1",), "a_1_2"),
        ("3d", (), "p_3d"),
        ("é", (), "policy"),
    ],
)
def test_identifiers(name: str, taken: tuple[str, ...], expected: str) -> None:
    assert identifier(name, taken) == expected


def test_what_is_missing_is_named(bundles: dict[str, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "emx_onnx_cgen", None)
    with pytest.raises(UserError, match=r"emx-onnx-cgen.*pip install 'robo-ppo\[c\]'"):
        write_c(bundles["gru"], tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="no C compiler"):
        self_test(write_c(bundles["reflex"], tmp_path))


def test_an_operation_that_the_generator_does_not_know(path: Path, tmp_path: Path, forge: Callable[..., Path]) -> None:
    bundle = read_bundle(path)
    model = parse_model(bundle.model)
    model.graph.node[0].op_type, model.graph.node[0].domain = "Telepathy", "com.example"
    with pytest.raises(UserError, match=r"emx-onnx-cgen cannot turn this policy into C: .*Telepathy"):
        write_c(replace(bundle, model=model.SerializeToString()), tmp_path)


def test_where_nothing_can_be_written(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_c(bundles["gru"], tmp_path / "file" / "folder")
