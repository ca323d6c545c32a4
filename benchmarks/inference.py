"""One control step of an exported policy: `python -m benchmarks.inference [bundle=uav_nav] [--calls 2000 --rounds 10]`.

One vehicle and one thread, in microseconds per call:

    policy     robo_ppo's own runtime: checks and converts measurements by name, then onnxruntime
    run        onnxruntime alone, from arrays by name to arrays
    bound      onnxruntime with its inputs and outputs bound to memory that stays (IO binding)
    c          the exported C code, compiled with -O3 -march=native

They work in turn, the one that goes first changing from round to round, since a machine drifts. The measurements change
from call to call as those of the bundle's golden sequence. Writes benchmarks/results/inference_<machine>.json. Needs
`pip install 'robo-ppo[c]'` and a C compiler.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import file_name, machine
from robo_ppo.export.c_code import write_c
from robo_ppo.run.folder import find_bundle, version
from robo_ppo_onboard.bundle import Bundle, read_bundle
from robo_ppo_onboard.contract import STATE_IN, STATE_OUT, Array
from robo_ppo_onboard.runtime import Policy

RESULTS = Path(__file__).parent / "results"
OPTIONS = ("-std=c99", "-O3", "-march=native")
BARS = {"bound": 10.0, "c": 5.0}  # µs, median
_WARM_UP = 500  # calls

_TIMED_IN_C = """
#define _POSIX_C_SOURCE 199309L
#include <time.h>
#include "{name}.c"

/* Nanoseconds of each of so many steps, on inputs that are taken in turn. */
void time_steps(const {name}_input *inputs, int given, {name}_output *out, long long *nanoseconds, int calls) {{
    {name}_state state;
    {name}_reset(&state);
    for (int call = 0; call < calls; ++call) {{
        struct timespec before, after;
        clock_gettime(CLOCK_MONOTONIC, &before);
        {name}_step(&inputs[call % given], &state, out);
        clock_gettime(CLOCK_MONOTONIC, &after);
        nanoseconds[call] = (after.tv_sec - before.tv_sec) * 1000000000LL + (after.tv_nsec - before.tv_nsec);
    }}
}}
"""

Work = Callable[[int], list[int]]  # nanoseconds of each of so many calls


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description="One step of a policy.")
    parser.add_argument("bundle", nargs="?", default="bundle=uav_nav", help="bundle=<policy.onnx>, or a shipped one")
    parser.add_argument("--calls", type=int, default=2000, help="calls in a round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_intermixed_args()
    bundle = read_bundle(find_bundle(str(arguments.bundle).removeprefix("bundle=")))
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(bundle, Path(folder), arguments.calls, arguments.rounds) | {"machine": where}
    results["versions"] = {"emx-onnx-cgen": version("emx-onnx-cgen"), "compiler": _compiler()}
    print(table(results))
    path = arguments.out / file_name("inference", where)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{path}")


def measure(bundle: Bundle, folder: Path, calls: int, rounds: int) -> dict[str, Any]:
    """Microseconds per call of each way to run a policy."""
    import onnx

    works = {"policy": policy(bundle), "run": run(bundle), "bound": bound(bundle), "c": in_c(bundle, folder)}
    for work in works.values():
        work(_WARM_UP)
    times: dict[str, list[int]] = {name: [] for name in works}
    medians: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            taken = works[name](calls)
            times[name] += taken
            medians[name].append(statistics.median(taken) / 1e3)
    return {
        "task": bundle.contract.task,
        "sha256": bundle.contract.sha256,
        "nodes": len(onnx.load_from_string(bundle.model).graph.node),
        "threads": 1,
        "calls": calls * rounds,
        "compiler_options": list(OPTIONS),
        "microseconds": {name: _summary(taken) | {"rounds": medians[name]} for name, taken in times.items()},
        "bars": BARS,
    }


def table(results: Mapping[str, Any]) -> str:
    """The result for a terminal."""
    lines = [f"{results['task']}, {results['nodes']} nodes, one thread, µs per call", f"{'':8}  median    99.9 %"]
    for name, taken in results["microseconds"].items():
        bar = results["bars"].get(name)
        told = "" if bar is None else f"   ({'within' if taken['median'] <= bar else 'above'} {bar:g})"
        lines.append(f"{name:8}{taken['median']:8.2f}  {taken['p99.9']:8.2f}{told}")
    return "\n".join(lines)


def policy(bundle: Bundle) -> Work:
    """Our own runtime."""
    runner = Policy(bundle)
    steps = _steps(bundle)
    state = runner.initial_state()

    def call(measurements: dict[str, Array]) -> None:
        nonlocal state
        _, state = runner(measurements, state)

    return _timed(call, steps)


def run(bundle: Bundle) -> Work:
    """The session alone, with new arrays for each result."""
    session, steps = _session(bundle), _steps(bundle)
    state = bundle.contract.initial_state[None]
    feeds = [{**step, STATE_IN: state} if bundle.contract.state else step for step in steps]

    def call(feed: dict[str, Array]) -> None:
        session.run(None, feed)

    return _timed(call, feeds)


def bound(bundle: Bundle) -> Work:
    """The session on memory that stays: whoever measures writes there."""
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    runtime: Any = onnxruntime
    session, contract = _session(bundle), bundle.contract
    binding = session.io_binding()
    memory: dict[str, Array] = {}
    shapes = {port.name: (1, *port.shape) for port in (*contract.inputs, *contract.outputs)}
    if contract.state:
        shapes |= dict.fromkeys((STATE_IN, STATE_OUT), (1, *contract.initial_state.shape))
    values: list[Any] = []
    for name, shape in shapes.items():
        memory[name] = np.zeros(shape, np.float32)
        values.append(runtime.OrtValue.ortvalue_from_numpy(memory[name]))
        is_output = name == STATE_OUT or name in {port.name for port in contract.outputs}
        (binding.bind_ortvalue_output if is_output else binding.bind_ortvalue_input)(name, values[-1])
    steps = _steps(bundle)

    def work(calls: int) -> list[int]:
        taken: list[int] = []
        for i in range(calls):
            for name, measured in steps[i % len(steps)].items():
                memory[name][...] = measured
            before = time.perf_counter_ns()
            session.run_with_iobinding(binding)
            taken.append(time.perf_counter_ns() - before)
        return taken

    work.__dict__["memory"] = memory, values
    return work


def in_c(bundle: Bundle, folder: Path) -> Work:
    """The C code, timed in C: a call from Python would take longer than the step."""
    source = write_c(bundle, folder)
    timed, library = folder / "timed.c", folder / "timed.so"
    timed.write_text(_TIMED_IN_C.format(name=source.stem))
    subprocess.run(["cc", *OPTIONS, "-shared", "-fPIC", str(timed), "-lm", "-o", str(library)], check=True)
    time_steps = ctypes.CDLL(str(library)).time_steps
    columns = [values.reshape(len(values), -1) for values in bundle.contract.golden.inputs.values()]
    inputs = np.ascontiguousarray(np.concatenate(columns, 1))
    out = np.zeros(sum(int(np.prod(port.shape, dtype=int)) for port in bundle.contract.outputs), np.float32)

    def work(calls: int) -> list[int]:
        taken = np.zeros(calls, np.int64)
        pointers = [ctypes.c_void_p(values.ctypes.data) for values in (inputs, out, taken)]
        time_steps(pointers[0], len(inputs), pointers[1], pointers[2], calls)
        return taken.tolist()

    return work


def _timed(call: Callable[[dict[str, Array]], None], given: list[dict[str, Array]]) -> Work:
    def work(calls: int) -> list[int]:
        taken: list[int] = []
        for i in range(calls):
            feed = given[i % len(given)]
            before = time.perf_counter_ns()
            call(feed)
            taken.append(time.perf_counter_ns() - before)
        return taken

    return work


def _steps(bundle: Bundle) -> list[dict[str, Array]]:
    """The golden measurements, step by step, as one vehicle has them."""
    golden = bundle.contract.golden.inputs
    count = len(next(iter(golden.values())))
    return [{name: np.ascontiguousarray(values[i : i + 1]) for name, values in golden.items()} for i in range(count)]


def _session(bundle: Bundle) -> Any:
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    runtime: Any = onnxruntime
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])


def _summary(nanoseconds: list[int]) -> dict[str, Any]:
    median, tail = np.percentile(nanoseconds, [50.0, 99.9]) / 1e3
    return {"median": float(median), "p99.9": float(tail)}


def _compiler() -> str:
    done = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


if __name__ == "__main__":
    main()
