"""What nobody has measured here: cards and links. Every figure that follows from these is marked as assumed."""

from dataclasses import replace

from benchmarks.scaling.model import Card, Cluster, Costs, Link, Workload

UAV_NAV = Workload(horizon=32, epochs=4, minibatches=16, gradient_bytes=4 * 14_730)
"""As shipped: 64-64 networks of 14,729 weights, and the divergence."""

DRONE = Card(
    "uav_nav, assumed card",
    UAV_NAV,
    # A control step of many small kernels in one graph; 2 M worlds/s; a gradient step of small products, as a graph.
    Costs(control_step=1.5e-3, world=0.5e-6, gradient_step=0.3e-3, sample=0.1e-6),
    gradient_step_of_ranks=2.0e-3,  # some two hundred operations, launched one by one at 10 µs
    worlds=16_384,
)

_HUMANOID = Workload(horizon=24, epochs=5, minibatches=4, gradient_bytes=4 * 650_000)
_WORLDS = 4096
_COLLECTED, _TRAINED = 94e3, 82e3  # steps/s that Isaac Lab 2.1 publishes for its G1 on rough ground, RTX 4090
_STEP, _GRADIENT_STEP = 3e-3, 2e-3  # the parts that no world and no sample adds to, assumed
HUMANOID = Card(
    "humanoid, published card",
    _HUMANOID,
    Costs(
        control_step=_STEP,
        world=1 / _COLLECTED - _STEP / _WORLDS,
        gradient_step=_GRADIENT_STEP,
        sample=(
            (1 / _TRAINED - 1 / _COLLECTED) - _HUMANOID.gradient_steps * _GRADIENT_STEP / (_WORLDS * _HUMANOID.horizon)
        )
        / _HUMANOID.epochs,
    ),
    gradient_step_of_ranks=_GRADIENT_STEP,
    worlds=_WORLDS,
)
"""Its speed is published; its networks (512-256-128) count 650 thousand weights."""

NVLINK = Link("NVLink", 2e-6, 300e9)
PCIE = Link("PCIe 4", 5e-6, 20e9)
INFINIBAND = Link("InfiniBand 100 Gb/s", 5e-6, 12e9)
ETHERNET = Link("Ethernet 10 Gb/s", 40e-6, 1.1e9)
_LAUNCH = 10e-6
CLUSTERS = {
    "NVLink, InfiniBand 100 Gb/s": Cluster(NVLINK, INFINIBAND, 8, _LAUNCH),
    "NVLink, Ethernet 10 Gb/s": Cluster(NVLINK, ETHERNET, 8, _LAUNCH),
    "PCIe 4, Ethernet 10 Gb/s": Cluster(PCIE, ETHERNET, 8, _LAUNCH),
}
ONE_RING = Cluster(NVLINK, replace(ETHERNET, has_tree=False), 1, _LAUNCH)
"""All GPUs in one ring, as NCCL did in 2019, each hop as slow as one between machines."""
FREE = Cluster(Link("free", 0.0, float("inf")), Link("free", 0.0, float("inf")), 8)
"""Sums that cost nothing: what hiding them behind the computation could reach at most."""

PUBLISHED_RING = {16: 163.4e-6, 64: 631.3e-6}
"""Seconds of an all-reduce of 8 bytes over GPUs (8 a machine) on a 100 Gb/s network; NCCL's test programme, 2019:
https://gist.github.com/jacobkahn/a92f4425abf831ac0799fabe9079263d (16 GPUs) and
https://gist.github.com/jacobkahn/3150a1a38abba40f58d8263d9c55969f (64)."""
