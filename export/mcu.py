"""What a policy costs on a microcontroller: flash, RAM and stack, and whether it fits.

    footprint = measure(Path("firmware/uav_nav.c"), TARGETS["stm32f405"])
    print(footprint.table())                # flash, RAM, stack; error and instructions where the emulator is installed

The policy is linked for the target with what it needs of the C library. Where `qemu-system-arm` knows a board with the
target's chip, the self-test runs there, on a painted stack. Needs the GNU toolchain for Arm.
"""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from robo_ppo.errors import UserError

INSTALL = "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi"
INSTALL_EMULATOR = "apt install qemu-system-arm"
_GCC, _SIZE, _QEMU = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"
_COMMON = ("-std=c99", "-O2", "-mthumb", "-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra", "-Werror")
_M4 = ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
_M7_SINGLE = ("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16")
_M7_DOUBLE = ("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-d16")
_NANOSECONDS = 8  # of the emulator's clock for each instruction


@dataclass(frozen=True)
class Target:
    """A chip: its flash and its largest piece of contiguous RAM in KiB, what it is compiled with, and who has it."""

    flash: int
    ram: int
    options: tuple[str, ...]
    found_on: str
    board: str | None = None  # of the emulator
    megahertz: int = 168


TARGETS = {
    "stm32f405": Target(1024, 128, _M4, "Crazyflie 2.1 and many racing quadrotors", board="netduinoplus2"),
    "stm32f411": Target(512, 128, _M4, "small racing quadrotors", megahertz=100),
    "stm32f722": Target(512, 256, _M7_SINGLE, "racing quadrotors", megahertz=216),
    "stm32f745": Target(1024, 320, _M7_SINGLE, "racing quadrotors", megahertz=216),
    "stm32f765": Target(2048, 512, _M7_DOUBLE, "Pixhawk 4", megahertz=216),
    "stm32h743": Target(2048, 512, _M7_DOUBLE, "Pixhawk 6, larger quadrotors", megahertz=480),
}


@dataclass(frozen=True)
class Emulated:
    """What the self-test showed on the emulated chip."""

    error: float
    passed: bool
    stack: int  # bytes that one step left marks in, those of its caller not among them
    instructions: int  # of one step


@dataclass(frozen=True)
class Footprint:
    """Bytes that a policy takes of a target; `stack` is that of its own functions, without the C library's."""

    target: str
    flash: int
    ram: int
    stack: int
    emulated: Emulated | None

    def table(self) -> str:
        """The report, for a terminal and for a file."""
        chip = TARGETS[self.target]
        stack = self.emulated.stack if self.emulated else self.stack
        rows = [
            ("flash", self.flash, chip.flash * 1024, "code, weights, and what it needs of the C library"),
            ("RAM", self.ram, chip.ram * 1024, "inputs, outputs and state of one vehicle"),
            ("stack", stack, chip.ram * 1024, "seen on the emulated chip" if self.emulated else "of its own functions"),
        ]
        lines = [f"{self.target} ({chip.found_on})"]
        lines += [f"  {n:6} {used:9,} of {has:9,} bytes  {used / has:6.1%}  {what}" for n, used, has, what in rows]
        if self.emulated:
            lines.append(f"  self-test on the emulated chip: largest error {self.emulated.error:.1e}")
            micro = self.emulated.instructions / chip.megahertz
            lines.append(
                f"  one step: {self.emulated.instructions:,} instructions, no less than {micro:.0f} µs at "
                f"{chip.megahertz} MHz (the emulator counts instructions, not what memory makes them wait)"
            )
        elif chip.board:
            lines.append(f"  not run: the emulator is not installed ({INSTALL_EMULATOR})")
        else:
            lines.append("  not run: the emulator has no board with this chip")
        return "\n".join(lines)


def find_target(name: str) -> Target:
    """The chip of that name; UserError where it is not known, or where nothing could be compiled for it."""
    if name not in TARGETS:
        raise UserError(f"target={name} is not known; there are {', '.join(TARGETS)}")
    missing = [tool for tool in (_GCC, _SIZE) if shutil.which(tool) is None]
    if missing:
        raise UserError(f"target={name} needs {missing[0]}, which is not installed; on Debian and Ubuntu: {INSTALL}")
    return TARGETS[name]


def measure(source: Path, name: str) -> Footprint:
    """Compile a policy's C code for a target and, where an emulator is installed, run its self-test there.

    UserError where the target is unknown, the toolchain missing, or the policy too large, with by how much.
    """
    target = find_target(name)
    with tempfile.TemporaryDirectory() as folder:
        flash, ram, stack = _link(source, target, Path(folder))
        _refuse_if_too_large(name, target, flash, ram + stack)
        can_run = target.board is not None and shutil.which(_QEMU) is not None
        emulated = _emulate(source, target, Path(folder)) if can_run else None
    if emulated is not None and not emulated.passed:
        raise RuntimeError(f"the self-test failed on the emulated {name}: largest error {emulated.error:.2e}")
    return Footprint(name, flash, ram, stack, emulated)


def _refuse_if_too_large(name: str, target: Target, flash: int, ram: int) -> None:
    for what, used, has in (("flash", flash, target.flash * 1024), ("RAM", ram, target.ram * 1024)):
        if used > has:
            raise UserError(
                f"the policy does not fit into {name}: it takes {used:,} bytes of {what} and the chip has {has:,}, "
                f"{used - has:,} too few; a smaller network (policy.hidden=…) or a larger chip ({', '.join(TARGETS)})"
            )


def _link(source: Path, target: Target, folder: Path) -> tuple[int, int, int]:
    """Flash, RAM and the stack of its own functions, of the policy with one vehicle's variables."""
    name = source.stem
    caller, program = folder / "caller.c", folder / "policy.elf"
    caller.write_text(
        f'#include "{name}.h"\n'
        f"{name}_input in;\n{name}_state state;\n{name}_output out;\n"
        f"int main(void) {{ {name}_reset(&state); {name}_step(&in, &state, &out); return 0; }}\n"
    )
    options = [*_COMMON, *target.options, "-fcallgraph-info=su", f"-I{source.parent.absolute()}"]
    link = ["-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs", "-Wl,--gc-sections", "-Wl,-e,main"]
    files = [str(source.absolute()), str(caller)]
    _run([_GCC, *options, *link, *files, "-lm", "-o", str(program)], folder)
    sizes = _run([_SIZE, "-A", str(program)], folder)
    sections = {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)", sizes, re.MULTILINE)}
    flash = sum(sections.get(section, 0) for section in (".text", ".rodata", ".data", ".ARM.exidx"))
    graphs = "".join(path.read_text() for path in folder.glob("*.ci"))
    return flash, sections.get(".data", 0) + sections.get(".bss", 0), _deepest(graphs, f"{name}_step")


def _deepest(graph: str, begin: str) -> int:
    """Bytes of stack along the deepest path of a call graph as gcc writes it; no policy calls itself."""
    label = r'title: "([^"]+)" label: "[^"]*?(\d+) bytes'
    frames = {title.split(":")[-1]: int(size) for title, size in re.findall(label, graph)}
    calls: dict[str, list[str]] = {}
    for caller, called in re.findall(r'sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
        calls.setdefault(caller.split(":")[-1], []).append(called.split(":")[-1])

    def below(function: str) -> int:
        return frames.get(function, 0) + max(map(below, calls.get(function, [])), default=0)

    return below(begin)


def _emulate(source: Path, target: Target, folder: Path) -> Emulated:
    """Run the self-test on the emulated board, with its output over semihosting."""
    name, program = source.stem, folder / "self_test.elf"
    board = resources.files("robo_ppo.export") / "mcu_board.jinja"
    text = board.read_text(encoding="utf-8").replace("POLICY", name.upper()).replace("policy", name)
    (folder / "board.c").write_text(text)
    (folder / "board.ld").write_text(_memory(target))
    define = f"-D{name.upper()}_SELF_TEST"
    options = [*_COMMON, *target.options, define, f"-I{source.parent.absolute()}"]
    link = ["-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs", "-Wl,--gc-sections", "-T", "board.ld"]
    _run([_GCC, *options, *link, str(source.absolute()), "board.c", "-lm", "-o", str(program)], folder)
    command = [_QEMU, "-M", str(target.board), "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-icount", f"shift={_NANOSECONDS.bit_length() - 1}"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(program)]
    told = _run(command, folder)
    found = re.search(r"error=(\d+)e-12 stack=(\d+) ticks=(\d+)", told)
    if found is None:
        raise RuntimeError(f"the emulated {target.board} said nothing that is understood: {told!r}")
    error, stack, ticks = map(int, found.groups())
    per_tick = 1000.0 / target.megahertz / _NANOSECONDS
    return Emulated(error * 1e-12, "passed" in told, stack, round(ticks * per_tick))


def _memory(target: Target) -> str:
    """A linker script with the vectors at the beginning of the flash and the stack at the end of the RAM."""
    return f"""\
MEMORY {{
  FLASH (rx) : ORIGIN = 0x08000000, LENGTH = {target.flash}K
  RAM (rwx) : ORIGIN = 0x20000000, LENGTH = {target.ram}K
}}
ENTRY(begin)
stack_top = ORIGIN(RAM) + LENGTH(RAM);
SECTIONS {{
  .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*) }} > FLASH
  .ARM.exidx : {{ *(.ARM.exidx*) }} > FLASH
  .data : {{ *(.data*) }} > RAM
  .bss : {{ *(.bss*) *(COMMON) end = .; }} > RAM
}}
"""


def _run(command: list[str], folder: Path) -> str:
    """What a tool says; a RuntimeError with that where it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{command[0]} did not end within {error.timeout:.0f} s") from error
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr
