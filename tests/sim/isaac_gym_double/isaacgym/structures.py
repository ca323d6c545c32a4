"""The plain structures of `gymapi`, with Isaac Gym's names and defaults that hurt (y is up, links are slow)."""

from dataclasses import dataclass, field
from enum import IntEnum

import torch


@dataclass
class Vec3:
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


@dataclass
class Quat:
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    w: float = 1.0


@dataclass
class Transform:
    p: Vec3 = field(default_factory=Vec3)
    r: Quat = field(default_factory=Quat)


@dataclass
class Mat33:
    x: Vec3 = field(default_factory=Vec3)
    y: Vec3 = field(default_factory=Vec3)
    z: Vec3 = field(default_factory=Vec3)


@dataclass
class Tensor:
    values: torch.Tensor


class SimType(IntEnum):
    SIM_PHYSX = 0
    SIM_FLEX = 1


class UpAxis(IntEnum):
    UP_AXIS_Y = 0
    UP_AXIS_Z = 1


class DofDriveMode(IntEnum):
    DOF_MODE_NONE = 0
    DOF_MODE_POS = 1
    DOF_MODE_VEL = 2
    DOF_MODE_EFFORT = 3


class CoordinateSpace(IntEnum):
    ENV_SPACE = 0
    LOCAL_SPACE = 1
    GLOBAL_SPACE = 2


class IndexDomain(IntEnum):
    DOMAIN_ENV = 0
    DOMAIN_ACTOR = 1
    DOMAIN_SIM = 2


@dataclass
class PhysXParams:
    use_gpu: bool = False
    num_threads: int = 0
    solver_type: int = 1
    num_position_iterations: int = 4
    num_velocity_iterations: int = 1
    contact_offset: float = 0.02
    rest_offset: float = 0.01
    bounce_threshold_velocity: float = 0.2
    max_depenetration_velocity: float = 100.0
    max_gpu_contact_pairs: int = 1048576


@dataclass
class SimParams:
    dt: float = 1.0 / 60.0
    substeps: int = 2
    up_axis: UpAxis = UpAxis.UP_AXIS_Y
    gravity: Vec3 = field(default_factory=lambda: Vec3(0.0, -9.8, 0.0))
    use_gpu_pipeline: bool = False
    physx: PhysXParams = field(default_factory=PhysXParams)


@dataclass
class PlaneParams:
    normal: Vec3 = field(default_factory=lambda: Vec3(0.0, 1.0, 0.0))
    distance: float = 0.0
    static_friction: float = 1.0
    dynamic_friction: float = 1.0
    restitution: float = 0.0


@dataclass
class AssetOptions:
    fix_base_link: bool = False
    collapse_fixed_joints: bool = False
    replace_cylinder_with_capsule: bool = False
    default_dof_drive_mode: int = 0
    use_physx_armature: bool = True
    angular_damping: float = 0.5
    linear_damping: float = 0.0
    max_angular_velocity: float = 64.0
    max_linear_velocity: float = 1000.0


@dataclass
class RigidBodyProperties:
    mass: float
    com: Vec3
    inertia: Mat33


@dataclass
class RigidShapeProperties:
    friction: float
    torsion_friction: float
    rolling_friction: float


@dataclass
class IndexRange:
    start: int
    count: int
