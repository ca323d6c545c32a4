"""C code for a microcontroller: a bundle as one `.c` and one `.h`, C99, without allocation.

    source = write_c(read_bundle("policy.onnx"), Path("firmware"))        # firmware/uav_nav.c, firmware/uav_nav.h
    error = self_test(source)                                             # compiles and runs it on this machine

The header states the contract (order, units, frames, limits, the bundle's hash); the source holds the network, and the
bundle's golden sequence as a self-test that is compiled only when asked for (`-DUAV_NAV_SELF_TEST`).
"""

import math
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from robo_ppo.errors import UserError
from robo_ppo.export.bundle import parse_model
from robo_ppo.export.c_graph import graph_as_c, parameters_of
from robo_ppo.export.c_names import braces, comment, identifier, number
from robo_ppo_onboard.bundle import Bundle
from robo_ppo_onboard.contract import Contract, Port
from robo_ppo_onboard.verify import TOLERANCE

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def write_c(bundle: Bundle, folder: Path) -> Path:
    """Write the pair, named after the task, into a folder that is made if need be; gives the path of the source.

    UserError where the generator is missing or does not know an operation, or where nothing can be written.
    """
    name = identifier(bundle.contract.task)
    texts = c_texts(bundle, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in texts.items():
            (folder / name).with_suffix(suffix).write_bytes(text.encode("ascii", "replace"))
    except OSError as error:
        raise UserError(f"cannot write {folder / name}.c: {error.strerror}") from error
    return folder / f"{name}.c"


def c_texts(bundle: Bundle, name: str) -> dict[str, str]:
    """The header and the source by suffix, for functions that begin with `name`."""
    contract, graph = bundle.contract, graph_as_c(parse_model(bundle.model), f"{name}_graph")
    _require_parameters(contract, parameters_of(graph, f"{name}_graph"))
    inputs, outputs = _members(contract.inputs), _members(contract.outputs)
    size = len(contract.initial_state)
    names = {
        "id": name,
        "ID": name.upper(),
        "title": comment(f"{contract.task} for {contract.robot}"),
        "about": _about(contract),
        "sha256": contract.sha256,
        "period": number(contract.control_period),
        "inputs": inputs,
        "outputs": outputs,
        "has_vectors": any(port.shape for port in contract.outputs),
        "limits": _limits(contract.limits),
        "state": _state(contract),
        "state_size": size,
        "initial_state": braces(contract.initial_state),
        "arguments": _arguments(inputs, outputs, size),
        "golden": _golden(contract),
        "tolerance": number(TOLERANCE),
        "graph": graph,
    }
    loader = jinja2.PackageLoader("robo_ppo.export", ".")
    templates = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return {suffix: templates.get_template(f"policy{suffix}.jinja").render(names) for suffix in (".h", ".c")}


def self_test(source: Path, options: Sequence[str] = ("-O2",)) -> float:
    """Compile a source with its self-test for this machine, run it, and give the largest error.

    UserError where there is no C compiler; what the compiler says against the source is a RuntimeError.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise UserError("there is no C compiler here; on Debian and Ubuntu: apt install gcc libc6-dev")
    define = f"-D{source.stem.upper()}_SELF_TEST_MAIN"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "self_test")
        command = [compiler, *STRICT, *options, define, str(source), "-lm", "-o", str(program)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{built.stderr}")
        return float(subprocess.run([program], capture_output=True, text=True, check=False).stdout)


def _require_parameters(contract: Contract, found: Sequence[tuple[int, ...]]) -> None:
    """C passes an array of any size: that they are the contract's is checked here."""
    state = [contract.initial_state.shape] if contract.state else []
    promised = [
        (1, *shape)
        for shape in (*(port.shape for port in contract.inputs), *state, *(p.shape for p in contract.outputs), *state)
    ]
    if list(found) != promised:
        raise RuntimeError(f"emx-onnx-cgen made a function of {found}, where the contract has {promised}")


def _members(ports: Sequence[Port]) -> list[dict[str, object]]:
    """The members of a struct: names, sizes, limits and what they mean."""
    members: list[dict[str, object]] = []
    for port in ports:
        name = identifier(port.name, [str(member["id"]) for member in members])
        members.append(
            {
                "name": port.name,
                "id": name,
                "ID": name.upper(),
                "axes": "".join(f"[{size}]" for size in port.shape),
                "size": math.prod(port.shape),
                "unit": comment(port.unit),
                "meaning": comment(meaning(port)),
                "lower": _values(port.lower, port.shape),
                "upper": _values(port.upper, port.shape),
                "scale": f"{number(max([1.0, *map(abs, (*(port.lower or ()), *(port.upper or ())))]))}f",
            }
        )
    return members


def meaning(port: Port) -> str:
    """A port in one line: unit, frame, and what it was trained with."""
    said = [port.unit]
    said += [port.frame] if port.frame else []
    said += [f"quaternion {port.quaternion_order}"] if port.quaternion_order else []
    trained = [f"{label} {value:g}" for label, value in (("noise", port.noise), ("bias", port.bias)) if value]
    trained += [f"{port.dropout:.0%} lost"] if port.dropout else []
    trained += [f"delay {port.delay[0]:g} to {port.delay[1]:g} s"] if port.delay and port.delay[1] else []
    said += [f"trained with {', '.join(trained)}"] if trained else []
    said += [port.note] if port.note else []
    return "; ".join(said)


def _about(contract: Contract) -> list[str]:
    """Where the policy comes from."""
    training = contract.training
    versions = ", ".join(f"{name} {version}" for name, version in contract.versions.items() if name != "commit")
    evaluation = contract.evaluation or {}
    success = evaluation.get("success")
    lines = [
        f"Bundle {contract.sha256}",
        f"trained at commit {training.commit}, seed {training.seed}, {training.steps} steps; {versions}.",
    ]
    if isinstance(success, Mapping):
        flown = f"{evaluation.get('episodes')} {evaluation.get('split')} episodes"
        lines.append(f"Evaluated: {success.get('count')} of {flown} were a success.")
    return [short for line in lines for short in textwrap.wrap(comment(line), 110)]


def _limits(limits: Mapping[str, float]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for name, value in limits.items():
        taken = [limit["ID"].lower() for limit in found]
        found.append({"ID": identifier(name, taken).upper(), "value": f"{number(value)}f"})
    return found


def _state(contract: Contract) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = []
    offset = 0
    for part in contract.state:
        name, size = identifier(part.name, [str(other["ID"]).lower() for other in parts]), math.prod(part.shape)
        parts.append({"name": comment(part.name), "ID": name.upper(), "offset": offset, "size": size})
        offset += size
    return parts


def _arguments(inputs: list[dict[str, object]], outputs: list[dict[str, object]], state_size: int) -> list[str]:
    """What the generated function is called with: pointers to arrays, so that the compiler checks their sizes."""
    given, wanted = [f"&in->{port['id']}" for port in inputs], [f"&out->{port['id']}" for port in outputs]
    return [*given, *["&before.values"] * bool(state_size), *wanted, *["&state->values"] * bool(state_size)]


def _golden(contract: Contract) -> dict[str, object]:
    golden = {**contract.golden.inputs, **contract.golden.outputs}
    rows = {name: [braces(row) for row in values.reshape(len(values), -1)] for name, values in golden.items()}
    return {"steps": len(next(iter(golden.values()))), **rows}


def _values(limits: tuple[float, ...] | None, shape: tuple[int, ...]) -> str | None:
    """Limits as a number, or as an initialiser."""
    if limits is None:
        return None
    numbers = [f"({number(value)}f)" if value < 0.0 else f"{number(value)}f" for value in limits]
    return f"{{{', '.join(numbers)}}}" if shape else numbers[0]
