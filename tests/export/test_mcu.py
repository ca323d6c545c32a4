"""What a policy costs on a microcontroller, and an emulated one that runs it."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from robo_ppo.errors import UserError
from robo_ppo.export import mcu
from robo_ppo.export.c_code import write_c
from robo_ppo.run.folder import shipped_policies
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.verify import TOLERANCE
from tests.export.in_c import Gru, Reflex, bundle_of

needs_toolchain = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="the GNU toolchain for Arm is not installed"
)
needs_emulator = pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_c(read_bundle(shipped_policies()["uav_nav"]), tmp_path_factory.mktemp("nav"))


@needs_toolchain
@needs_emulator
def test_an_emulated_stm32f405_gives_the_golden_commands(source: Path) -> None:
    found = mcu.measure(source, "stm32f405")
    assert found.emulated is not None
    assert found.emulated.error <= TOLERANCE and found.emulated.passed
    weights = 4 * (44 * 64 + 64 + 64 * 64 + 64 + 64 * 4 + 4)
    assert weights < found.flash < weights + 32 * 1024
    assert 4 * (40 + 4 + 4) <= found.ram < 1024
    # The emulated stack holds the C library's functions, too, and the frame that it was painted from.
    assert found.stack - 64 <= found.emulated.stack < found.stack + 1024
    products = 44 * 64 + 64 * 64 + 64 * 4
    assert 2 * products < found.emulated.instructions < 40 * products
    table = found.table()
    for text in ("flash", "RAM", "stack", "largest error", "instructions", "1,048,576"):
        assert text in table


@needs_toolchain
@needs_emulator
@pytest.mark.slow
def test_a_recurrent_policy_and_one_without_state_run_there_too(tmp_path: Path) -> None:
    torch.manual_seed(2)
    for name, module in (("gru", Gru()), ("reflex", Reflex())):
        found = mcu.measure(write_c(bundle_of(module.eval(), tmp_path / "p.onnx", name), tmp_path), "stm32f405")
        assert found.emulated is not None and found.emulated.error <= TOLERANCE


@needs_toolchain
@needs_emulator
def test_a_wrong_policy_fails_there(source: Path, tmp_path: Path) -> None:
    altered = tmp_path / source.name
    shutil.copy(source.with_suffix(".h"), tmp_path)
    text = source.read_text()
    begin = text.index("uav_nav_golden_roll_rate[32]")
    altered.write_text(text[:begin] + text[begin:].replace("0x1.", "0x2.", 1))
    with pytest.raises(RuntimeError, match="the self-test failed on the emulated stm32f405"):
        mcu.measure(altered, "stm32f405")


@needs_toolchain
@needs_emulator
def test_instructions_are_counted_rightly(source: Path, tmp_path: Path) -> None:
    """A step that is nothing but a loop of known length."""
    shutil.copy(source.with_suffix(".h"), tmp_path)
    loop = (
        'for (int i = 0; i < 5000; ++i) { __asm__ volatile("nop\\n nop\\n nop\\n nop\\n nop\\n nop\\n nop\\n nop"); }'
    )
    (tmp_path / "uav_nav.c").write_text(
        '#include "uav_nav.h"\n'
        "void uav_nav_reset(uav_nav_state *state) { state->values[0] = 0.0f; }\n"
        "void uav_nav_step(const uav_nav_input *in, uav_nav_state *state, uav_nav_output *out)\n"
        f"{{ (void)state; out->roll_rate = in->gyro[0]; {loop} }}\n"
        "#ifdef UAV_NAV_SELF_TEST\nfloat uav_nav_self_test(void) { return 0.0f; }\n#endif\n"
    )
    found = mcu.measure(tmp_path / "uav_nav.c", "stm32f405")
    assert found.emulated is not None
    assert found.emulated.instructions == pytest.approx(5000 * 10, rel=0.02)


@needs_toolchain
def test_other_chips(source: Path) -> None:
    """All of them compile; what runs nowhere is said so."""
    for name in mcu.TARGETS.keys() - {"stm32f405"}:
        found = mcu.measure(source, name)
        assert found.emulated is None and found.flash > 28_000 and 500 < found.stack < 8_000
        assert "no board with this chip" in found.table()


@needs_toolchain
def test_a_policy_that_is_too_large_is_told_by_how_much(tmp_path: Path) -> None:
    class Large(Reflex):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(nn.Linear(7, 400), nn.ELU(), nn.Linear(400, 400), nn.ELU(), nn.Linear(400, 2))

    source = write_c(bundle_of(Large().eval(), tmp_path / "large.onnx"), tmp_path)
    with pytest.raises(UserError, match=r"does not fit into stm32f411: it takes (\S+) bytes of flash") as refused:
        mcu.measure(source, "stm32f411")
    words = str(refused.value).replace(",", "").replace(";", "").split()
    numbers = [int(word) for word in words if word.isdigit()]
    assert numbers[1] == 512 * 1024 and numbers[2] == numbers[0] - numbers[1] > 100_000
    assert 4 * 400 * 400 < numbers[0] < 4 * 400 * 400 + 64 * 1024
    assert mcu.measure(source, "stm32h743").flash == pytest.approx(numbers[0], rel=0.02)


def test_a_stack_that_is_too_large_counts_as_ram() -> None:
    mcu._refuse_if_too_large("stm32f405", mcu.TARGETS["stm32f405"], flash=2**20, ram=2**17)
    with pytest.raises(UserError, match="131,073 bytes of RAM and the chip has 131,072, 1 too few"):
        mcu._refuse_if_too_large("stm32f405", mcu.TARGETS["stm32f405"], flash=2**20, ram=2**17 + 1)


def test_what_is_missing_or_unknown_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="target=stm32f999 is not known; there are stm32f405, "):
        mcu.find_target("stm32f999")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"needs arm-none-eabi-gcc, .* apt install gcc-arm-none-eabi libnewlib-arm"):
        mcu.find_target("stm32f405")


def test_the_deepest_path_of_a_call_graph() -> None:
    graph = (
        'node: { title: "p.c:small" label: "small\\np.c:1:2\\n8 bytes (static)" }\n'
        'node: { title: "p.c:large" label: "large\\np.c:3:4\\n64 bytes (static)" }\n'
        'node: { title: "p_step" label: "p_step\\np.c:5:6\\n100 bytes (static)" }\n'
        'node: { title: "sqrtf" label: "sqrtf\\n<built-in>" shape : ellipse }\n'
        'edge: { sourcename: "p_step" targetname: "p.c:small" }\n'
        'edge: { sourcename: "p.c:small" targetname: "p.c:large" }\n'
        'edge: { sourcename: "p_step" targetname: "sqrtf" }\n'
    )
    assert mcu._deepest(graph, "p_step") == 172


@needs_toolchain
def test_without_the_emulator_the_report_says_so(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in ("arm-none-eabi-gcc", "arm-none-eabi-size"):
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = mcu.measure(source, "stm32f405")
    assert report.emulated is None and "apt install qemu-system-arm" in report.table()
