"""Schema of every configuration group; Hydra checks names and types against it before anything heavy is imported.

`conf/` holds the values. A run's whole configuration is one `RunConfig`; `robo_ppo.command_line` composes it.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from robo_ppo import __version__
from robo_ppo.errors import UserError

Schema = TypeVar("Schema")
_LONGEST = 100_000  # characters of a stored configuration, a program of 20 kB among them
_MOST_NESTED = 32  # values inside each other, of a stored configuration
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 20 times as fast where PyYAML was built with libyaml


@dataclass
class MeasurementConfig:
    """How far a measurement is from the truth: all in the measurement's own unit (rad for a quaternion)."""

    noise: float = 0.0  # standard deviation of every sample
    bias: float = 0.0  # standard deviation of an offset that is constant through an episode
    dropout: float = 0.0  # probability that a sample is lost; the vehicle then sees the last one again
    delay: list[float] = field(default_factory=lambda: [0.0, 0.0])  # s, uniform between the two, constant in an episode


@dataclass
class ObservationConfig:
    """Signals by name, each with its settings (none yet). The critic sees its own besides what the policy sees now."""

    policy: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: int = 1  # control steps that the policy sees side by side, the present one among them
    critic: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class CurriculumConfig:
    """How a task gets harder.

    The level rises from `start` to 1: whenever as many episodes have ended as there are environments, by `step` if the
    share of successes among them is above `success`.
    """

    start: float = 1.0
    step: float = 0.0
    success: float = 0.75


@dataclass
class TaskConfig:
    """What to do: the task, its times, what is observed and measured."""

    name: str = MISSING
    entry_point: str = MISSING  # module:Class
    episode_seconds: float = 0.0  # > 0, as the timestep, for a task of signals; other environments know their own
    timestep: float = 0.0  # s, of the physics
    decimation: int = 1  # physics steps in a control step
    observation: ObservationConfig = field(default_factory=ObservationConfig)
    measurements: dict[str, MeasurementConfig] = field(default_factory=dict)
    action_delay: list[float] = field(default_factory=lambda: [0.0, 0.0])  # s, uniform, constant in an episode
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    settings: dict[str, Any] = field(default_factory=dict)  # of the task's class


@dataclass
class RobotConfig:
    """With what: the robot and its action interface."""

    entry_point: str = ""  # module:Class
    action: str = ""  # one of the robot's action interfaces


@dataclass
class RandomizationConfig:
    """What differs from episode to episode."""

    parameters: dict[str, list[float]] = field(default_factory=dict)  # name → lowest and highest value, uniform
    measurement_errors: float = 1.0  # factor on every noise, bias, dropout and delay of the task


@dataclass
class IsaacGymConfig:
    """Isaac Gym's own settings; see `robo_ppo.sim.isaac_gym.IsaacGymSettings`."""

    python: str = ""  # the interpreter that Isaac Gym is installed in
    environment: dict[str, str] = field(default_factory=dict)  # variables for it, besides those of this process
    device: str = "cuda:0"  # where PhysX runs
    threads: int = 4  # of PhysX on the CPU
    spacing: float = 4.0  # m
    substeps: int = 1
    position_iterations: int = 4
    velocity_iterations: int = 1
    contact_offset: float = 0.01  # m
    max_depenetration_velocity: float = 10.0  # m/s
    max_gpu_contact_pairs: int = 8388608


@dataclass
class SimConfig:
    """The physics back end."""

    backend: str = "mujoco_cpu"
    threads: int = 0  # mujoco_cpu: of the physics in each rank; 0: as many as the rank has
    contacts: int = 0  # mujoco_warp: that a world's buffer holds; 0: estimated from the model
    constraints: int = 0  # mujoco_warp: likewise
    isaac_gym: IsaacGymConfig = field(default_factory=IsaacGymConfig)


@dataclass
class PolicyConfig:
    """The networks and the standard deviation of the actions."""

    recurrent: str = "none"  # none, or gru: a gated recurrent unit beside the observation; the layers see both
    recurrent_size: int = 0  # numbers that it remembers
    hidden: list[int] = field(default_factory=lambda: [64, 64])
    critic_hidden: list[int] = field(default_factory=lambda: [64, 64])
    activation: str = "relu"
    initial_std: float = 0.4
    min_std: float = 0.05
    max_std: float = 1.0


@dataclass
class PPOConfig:
    """The learner; see `robo_ppo.learn.ppo`."""

    horizon: int = 32
    epochs: int = 4
    minibatches: int = 16
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    value_coefficient: float = 0.5
    value_clip: float | None = None
    entropy_coefficient: float = 0.0
    max_gradient_norm: float = 1.0
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-4  # as far as target_kl moves the rate
    max_learning_rate: float = 5e-3  # always an upper bound
    final_max_learning_rate: float = 3e-4  # the upper bound falls to this, linearly over total_steps
    target_kl: float | None = 0.02  # null: the rate is learning_rate, within the upper bound
    adam_eps: float = 1e-8
    normalize_advantage: str = "batch"  # batch, minibatch or none
    scale_reward: bool = False
    advantage: str = "gae"
    surrogate: str = "clip"


@dataclass
class ValidationConfig:
    """How the policy is watched in training."""

    every: int = 1_000_000  # environment steps
    episodes: int = 512  # at least; the same number for each rank
    target: float | None = None  # stop when deterministic success reaches it; null: train to the end


@dataclass
class EvaluationConfig:
    """What is measured and filmed after training."""

    episodes: int = 1000
    video: bool = True
    video_seconds: float = 16.0


@dataclass
class LoggerConfig:
    """Where to watch a training; a choice in `conf/logger/` sets its own fields and leaves the others None."""

    name: str = "tensorboard"  # tensorboard, wandb, mlflow or none
    project: str | None = None  # wandb
    entity: str | None = None  # wandb
    mode: str | None = None  # wandb: online, offline or disabled
    group: str | None = None  # wandb
    tags: list[str] | None = None  # wandb
    tracking_uri: str | None = None  # mlflow
    experiment: str | None = None  # mlflow


@dataclass
class LLMConfig:
    """Who answers the reward loop's questions, as in `conf/llm/`. Keys have no place here (`shaping.llm.keys`)."""

    name: str = "none"  # none, manual, replay, openai, anthropic, google, ollama, vllm or compatible
    model: str | None = None  # the provider's name for it
    base_url: str | None = None  # of the server; None: the provider's own
    answers: str = "auto"  # how the form is demanded: schema, tool or text (by the prompt alone); auto: as suits it
    pictures: bool = True  # false: a model that reads words only
    temperature: float | None = None  # None: the provider's default
    timeout_s: float = 300.0  # for one request, and the longest that a server may ask to be left alone
    retries: int = 3  # after a wrong answer or a failed request, for each question
    max_answer_tokens: int = 16384  # of one answer, thinking included
    max_requests: int | None = 200  # budgets of the whole run; None: no limit
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_dollars: float | None = None
    input_price: float | None = None  # dollars for a million tokens, where no price list knows the model
    output_price: float | None = None
    folder: str | None = None  # manual: where the questions go; replay: the run to repeat


@dataclass
class RunConfig:
    """A whole run: `python train.py`."""

    task: TaskConfig = field(default_factory=TaskConfig)
    robot: RobotConfig = field(default_factory=RobotConfig)
    reward: dict[str, dict[str, Any]] = field(default_factory=dict)  # term → weight and settings
    program: str = ""  # text of the reward program that has terms of its own (`reward=my_reward.py`); "": none
    randomization: RandomizationConfig = field(default_factory=RandomizationConfig)
    sim: SimConfig = field(default_factory=SimConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    env_id: str = ""  # of task=gymnasium or task=isaac_lab
    seed: int = 0
    device: str = "auto"  # cpu, cuda or cuda:1; auto: what the physics runs on
    precision: str = "auto"  # of the update's matrix products: float32, tf32 (a GPU's), bf16; auto: what is good here
    compile: bool = False  # the learner's arithmetic, by torch.compile
    capture: bool = True  # on a GPU: a control step, and an update, as one CUDA graph each
    num_envs: int = 4096
    ranks: int = 0  # processes that train together; 0: one for each core, four at most
    threads: int = 0  # of each rank, for physics and learning; 0: the cores divided by the ranks
    total_steps: int = MISSING
    checkpoint_every: int = 1_000_000  # environment steps
    runs: str = "runs"  # folder of all runs
    resume: str | None = None  # a run to continue
    init: str | None = None  # a run or bundle whose policy to start from
    debug: bool = False  # check every signal and term of every step
    info: bool = False  # print what would be trained, and stop


@dataclass
class EvaluateConfig:
    """`evaluate.py`."""

    run: str | None = None  # a run's folder, or "latest"
    bundle: str | None = None  # or a policy.onnx alone
    episodes: int = 1000
    split: str = "test"
    video: bool = True
    video_seconds: float = 16.0
    runs: str = "runs"
    randomization: RandomizationConfig | None = None  # None: as in training


@dataclass
class LibraryConfig:
    """`python -m robo_ppo.library select`: what of it is composed from `conf/`."""

    llm: LLMConfig = field(default_factory=LLMConfig)


@dataclass
class PlayConfig(RunConfig):
    """`play.py`: what to fly live. Without a run, a bundle or a dump it is the composed task, as in training."""

    run: str | None = None  # a run's folder, or "latest"
    bundle: str | None = None  # or a policy.onnx, or the name of a shipped policy
    dump: str | None = None  # or a world that broke in training: <run>/broken_worlds/….pt
    agent: str | None = None  # policy, zero or random; None: policy
    episode: int = 0  # the first one
    split: str = "test"
    host: str = "127.0.0.1"
    port: int = 8080
    open: bool = True  # show the page in the browser
    view: bool = True  # serve a page at all; without one, a dump is printed alone


@dataclass
class RefineSettings:
    """The loop of `refine.py`."""

    rounds: int = 2
    candidates: int = 8  # proposals in a round
    rungs: list[float] = field(default_factory=lambda: [0.125, 0.25, 0.5])  # shares of total_steps
    enough: float = 0.95  # success of the leader at the last rung after which there is no further round
    minutes: float | None = None  # after which there is no further round
    warm_start: bool = False  # from the policy of the reward that a candidate was derived from
    programs: bool = False  # a model may write whole programs
    seeds: int = 3  # of the final
    more_seeds: int = 2  # at most, one after another, where each is better with the candidate and the interval is open
    episodes: int = 1000  # of the final, for each seed
    pictures: bool = True  # frames and plots of every candidate that comes to the last rung
    video: bool = True  # films of the final


@dataclass
class RefineConfig(RunConfig):
    """`refine.py`: how candidates train, as in training, and the loop around it."""

    target: str = "reward"  # or randomization
    llm: LLMConfig = field(default_factory=LLMConfig)
    refine: RefineSettings = field(default_factory=RefineSettings)


def device_of(config: RunConfig) -> str:
    """Where a run computes: where its physics does, unless said otherwise."""
    if config.device != "auto":
        return config.device
    return "cuda" if config.sim.backend == "mujoco_warp" else "cpu"


def parse_config(text: str, where: str) -> RunConfig:
    """A run's configuration from its YAML; a `UserError` for anything that today's schema does not know."""
    return parse(text, where, RunConfig)


def parse(text: str, where: str, schema: type[Schema]) -> Schema:
    """A configuration from its YAML; a `UserError` for anything that today's schema does not know.

    What was stored has been composed already, so `check_plain` holds it to plain values.
    """
    try:
        check_plain(text)
        return typed(OmegaConf.create(text), schema)
    except (OmegaConfBaseException, ValueError, yaml.YAMLError) as error:
        message = " ".join(str(error).splitlines()[0].split())
        key = getattr(error, "full_key", None)
        raise UserError(
            f"{where} does not fit robo_ppo {__version__}: {f'{key}: ' if key else ''}{message}; "
            "it was written by another version, or changed"
        ) from error


def check_plain(text: str) -> None:
    """A ValueError for YAML that does more than say values, which is somebody else's: no configuration is stored so.

    An interpolation would read this person's environment; a value that repeats others by name, or nests without end,
    fills the memory when it is written out. YAML can write a dollar in many ways: the values are looked at.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text):,} characters, where a configuration has at most {_LONGEST:,}")
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it repeats a value by a name, *…, which no stored configuration does")
        if isinstance(event, yaml.ScalarEvent) and "${" in event.value:
            raise ValueError("it has an interpolation, ${…}, which no stored configuration has")
        if getattr(event, "tag", None) is not None:
            raise ValueError("it has a tag, !…, which no stored configuration has")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_NESTED:
            raise ValueError("its values are nested too deeply")


def typed(found: Container, schema: type[Schema]) -> Schema:
    """A configuration as its dataclass; an `OmegaConfBaseException` for a key or a type that is not in the schema.

    Hydra alone does not see to it: what is appended with `+` may have any name.
    """
    plain = OmegaConf.to_container(found)
    if not isinstance(plain, dict):
        raise ValueError("it is not a mapping of settings")
    # The schema is made here and the values were copied above: nothing that merging may use up is anybody else's.
    config = OmegaConf.to_object(OmegaConf.unsafe_merge(OmegaConf.structured(schema()), plain))
    assert isinstance(config, schema)
    return config


_SCHEMAS = {
    "train": RunConfig,
    "evaluate": EvaluateConfig,
    "play": PlayConfig,
    "library": LibraryConfig,
    "refine": RefineConfig,
}


@cache
def register(command: str) -> None:
    """Make the schema of a command known to Hydra, once in a process: it copies all it knows whenever it composes."""
    ConfigStore.instance().store(name=f"{command}_schema", node=_SCHEMAS[command])
