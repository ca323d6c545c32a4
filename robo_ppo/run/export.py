"""From a run or a bundle to files for a vehicle: `python -m robo_ppo.export`, or `robo-ppo export`.

    python -m robo_ppo.export run=latest                                # policy.onnx from the best checkpoint
    python -m robo_ppo.export run=latest format=c target=stm32f405      # uav_nav.c and uav_nav.h
    python -m robo_ppo.export inspect policy.onnx
    python -m robo_ppo.export verify policy.onnx

A run that is exported again keeps the evaluation that its file holds only where the policy is the same: its weights,
its ports, and the commands of its golden sequence. Of another policy nobody knows yet how it flies.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robo_ppo import atomic
from robo_ppo.config import RunConfig, parse_config
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.run import folder as folders
from robo_ppo.run.resolve import on_cpu

if TYPE_CHECKING:
    from robo_ppo.learn.actor_critic import ActorCritic
    from robo_ppo_onboard.bundle import Bundle
    from robo_ppo_onboard.contract import Golden

USAGE = """\
usage: python -m robo_ppo.export run=latest [output=<folder>]           policy.onnx from the best checkpoint of a run
       python -m robo_ppo.export run=latest format=c [target=stm32f405] [output=<folder>]
       python -m robo_ppo.export bundle=<policy.onnx> [format=c …]      the same from a bundle, or a shipped policy
       python -m robo_ppo.export inspect <policy.onnx>                  its contract as tables
       python -m robo_ppo.export verify <policy.onnx>                   hash, schema and golden sequence"""

BUNDLE = "policy.onnx"
_GOLDEN_FLIGHTS = 200  # environments whose measurements the exported policy is compared on
_GOLDEN_STEPS = 50


@dataclass
class Options:
    """What the arguments `key=value` say."""

    run: str | None = None  # a run's folder, or "latest"
    bundle: str | None = None  # or a policy.onnx, or the name of a shipped policy
    format: str = "onnx"  # or c
    target: str | None = None  # the microcontroller that C code shall fit into
    output: str | None = None  # folder; None: the run's own, or c/ for C code
    runs: str = "runs"


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code is 2 for a person's mistake, and for a bundle that fails."""
    if list(arguments) in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    try:
        if arguments and arguments[0] in ("inspect", "verify"):
            if len(arguments) != 2:
                raise UserError(f"{arguments[0]} takes one bundle, as in {arguments[0]} policy.onnx")
            inspect_bundle(arguments[1]) if arguments[0] == "inspect" else verify_bundle(arguments[1])
        else:
            _export(options_of(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def options_of(arguments: Sequence[str]) -> Options:
    """The options that `key=value` arguments name; a UserError for anything else."""
    known = [field.name for field in fields(Options)]
    given: dict[str, str] = {}
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if key not in known:
            raise UserError(
                f"there is no '{argument}' here; {did_you_mean(key, [*known, 'inspect', 'verify'])}\n{USAGE}"
            )
        if not separator or not value or key in given:
            raise UserError(f"{key} is given once and with a value, as in {key}=…")
        given[key] = value
    options = Options(**given)
    if (options.run is None) == (options.bundle is None):
        raise UserError(f"say what to export: run=latest, run=<folder> or bundle=<policy.onnx>\n{USAGE}")
    if options.format not in ("onnx", "c"):
        raise UserError(f"format={options.format}; it is onnx or c")
    if options.target is not None and options.format != "c":
        raise UserError("target=… is where C code goes to: add format=c")
    return options


def inspect_bundle(name: str) -> None:
    """Print a bundle's contract."""
    from robo_ppo.export.tables import tables
    from robo_ppo_onboard.bundle import read_bundle

    print(tables(read_bundle(folders.find_bundle(name)).contract))


def verify_bundle(name: str) -> None:
    """Check a bundle's hash, schema and ports, and run its golden sequence; a UserError with what is wrong."""
    from robo_ppo_onboard.verify import verify

    path = folders.find_bundle(name)
    found = verify(path)
    if not found.passed:
        worst = ", ".join(f"{name} by {error:.2e}" for name, error in found.errors.items())
        raise UserError(
            f"{path} does not give its golden commands here: {worst} over {found.steps} steps, where "
            f"{found.tolerance:.0e} is allowed"
        )
    print(
        f"{path}: hash, schema and ports are right; golden sequence of {found.steps} steps within {found.max_error:.1e}"
    )


def _export(options: Options) -> None:
    if options.format == "c":
        _export_c(options)
        return
    if options.run is not None:
        run = folders.find(options.run, options.runs)
        path = _target_folder(options.output, run) / BUNDLE
        bundle = export_run(folders.load_config(run), run, path)
    else:
        source = folders.find_bundle(options.bundle or "")
        if options.output is None:
            raise UserError("a bundle is written anew into a folder: say which with output=…")
        path = _target_folder(options.output, Path()) / BUNDLE
        bundle = export_bundle(source, path)
    from robo_ppo_onboard.verify import verify

    contract = bundle.contract
    print(f"exported {path} ({contract.training.steps / 1e6:.2f} M steps, SHA-256 {contract.sha256})")
    print(f"takes    {', '.join(port.name for port in contract.inputs)}")
    print(f"commands {', '.join(port.name for port in contract.outputs)}, every {contract.control_period:g} s")
    print(f"verified against torch, and its golden sequence within {verify(path).max_error:.1e}")


def _export_c(options: Options) -> None:
    from robo_ppo.export import mcu
    from robo_ppo.export.c_code import self_test, write_c
    from robo_ppo_onboard.bundle import read_bundle

    if options.target is not None:
        mcu.find_target(options.target)
    if options.run is not None:
        run = folders.find(options.run, options.runs)
        path = run / BUNDLE
        if not path.exists():
            export_run(folders.load_config(run), run, path)
            print(f"exported {path}")
    else:
        run, path = Path(), folders.find_bundle(options.bundle or "")
    source = write_c(read_bundle(path), _target_folder(options.output, run / "c"))
    print(f"wrote {source} and {source.with_suffix('.h').name}, from {path}")
    try:
        print(f"self-test on this machine: largest error {self_test(source):.1e}")
    except UserError as error:
        print(f"not tested on this machine: {error}")
    if options.target is not None:
        report = mcu.measure(source, options.target).table()
        source.with_name(f"{source.stem}_{options.target}.txt").write_text(f"{report}\n", encoding="utf-8")
        print(report)


def export_run(config: RunConfig, folder: Path, path: Path | None = None) -> "Bundle":
    """Write policy.onnx from the best checkpoint of a run; an evaluation of the same policy is kept."""
    from robo_ppo.run import checkpoint
    from robo_ppo.run.train import load_model

    best = checkpoint.read(folder / "checkpoints" / checkpoint.BEST)
    earlier = _readable(folder / BUNDLE)

    def load(model: "ActorCritic") -> None:
        load_model(model, best["model"], str(folder))

    with atomic.beside(folder / BUNDLE if path is None else path) as fresh:
        bundle = _write(config, fresh, load, best["steps"])
        if earlier is not None and earlier.contract.evaluation is not None:
            if same_policy(earlier, bundle):
                bundle = _evaluated(fresh, earlier)
            else:
                print(f"the evaluation in {folder / BUNDLE} was of another policy: it is left out")
    return bundle


def export_bundle(source: Path, path: Path) -> "Bundle":
    """Write a bundle's policy anew, with today's code; a UserError where that computes something else."""
    from robo_ppo.export.weights import start_from_bundle
    from robo_ppo_onboard.bundle import read_bundle

    earlier = read_bundle(source)
    training = earlier.contract.training
    config = parse_config(training.config, str(source))
    with atomic.beside(path) as fresh:
        bundle = _write(config, fresh, lambda model: start_from_bundle(model, source), training.steps, training.commit)
        if not same_policy(earlier, bundle):
            raise UserError(
                f"today's {earlier.contract.task} is not the one that {source} was trained on: with these weights it "
                "takes other measurements or gives other commands; use the bundle as it is, or train again"
            )
        return _evaluated(fresh, earlier)


def _write(
    config: RunConfig, path: Path, load: "Callable[[ActorCritic], None]", steps: int, commit: str | None = None
) -> "Bundle":
    """Export what `load` puts into a model, checked against torch on measurements of validation flights."""
    import torch

    from robo_ppo.env.build import affordable, make_environment
    from robo_ppo.export.policy import export_policy, measured_sequence
    from robo_ppo.run.train import make_model
    from robo_ppo_onboard.contract import Training

    flights = affordable(config, _GOLDEN_FLIGHTS)
    environment = make_environment(on_cpu(config), "validation", flights, episodes=flights)
    model = make_model(config, environment.observation_sizes, environment.action_size)
    load(model)
    generator = torch.Generator().manual_seed(config.seed)
    size = (flights, environment.action_size)
    actions = [0.3 * torch.randn(size, generator=generator) for _ in range(_GOLDEN_STEPS - 1)]
    versions = folders.versions()
    training = Training(
        commit=versions["commit"] if commit is None else commit,
        seed=config.seed,
        steps=steps,
        config=folders.portable(config),
    )
    with closing(environment):
        samples = measured_sequence(environment, actions)
    return export_policy(path, config.task.name, environment.interface, model, samples, versions, training)


def same_policy(one: "Bundle", other: "Bundle") -> bool:
    """Whether the second bundle flies as the first: its weights, its ports, and the first one's golden commands."""
    import torch

    from robo_ppo.export.weights import weights_of

    ours, theirs = weights_of(one), weights_of(other)
    a, b = one.contract, other.contract
    return (
        (a.task, a.robot, a.control_period, a.inputs, a.outputs, a.state)
        == (b.task, b.robot, b.control_period, b.inputs, b.outputs, b.state)
        and ours.keys() == theirs.keys()
        and all(torch.equal(ours[name].flatten().double(), theirs[name].flatten().double()) for name in ours)
        and _gives(other, a.golden)
    )


def _gives(bundle: "Bundle", golden: "Golden") -> bool:
    """Whether a bundle's policy gives the commands of a golden sequence."""
    from robo_ppo_onboard.runtime import Policy
    from robo_ppo_onboard.verify import TOLERANCE, replay

    worst = 0.0
    for step, commands in enumerate(replay(Policy(bundle), golden)):
        for name, expected in golden.outputs.items():
            scale = np.maximum(1.0, np.abs(expected[step]))
            worst = float(np.maximum(worst, np.max(np.abs(commands[name][0] - expected[step]) / scale)))
    return worst <= TOLERANCE


def _evaluated(path: Path, earlier: "Bundle") -> "Bundle":
    """The bundle in a file with the evaluation of an earlier one of the same policy."""
    from robo_ppo.export.bundle import replace_evaluation
    from robo_ppo_onboard.bundle import read_bundle

    if earlier.contract.evaluation is not None:
        replace_evaluation(path, earlier.contract.evaluation)
    return read_bundle(path)


def _readable(path: Path) -> "Bundle | None":
    """A bundle that can be read, if there is one."""
    from robo_ppo_onboard.bundle import read_bundle

    try:
        return read_bundle(path) if path.exists() else None
    except UserError as error:
        print(f"the earlier file is replaced: {error}")
        return None


def _target_folder(output: str | None, default: Path) -> Path:
    folder = default if output is None else Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
    return folder
