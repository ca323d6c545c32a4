"""The contract of `Simulation`, for every back end in `conftest.py`: it is many `mj_step` loops, and nothing else."""

import mujoco
import numpy as np
import pytest
import torch

from robo_ppo.errors import UserError
from robo_ppo.sim.rows import Rows
from robo_ppo.sim.simulation import STATE_FIELDS, Simulation

from .conftest import NUM_ENVS, XML, Backend, Plain, controls, having

STATE = ("time", "qpos", "qvel", "act", "ctrl")


def rows(sim: Simulation, *indices: int) -> Rows:
    mask = torch.zeros(NUM_ENVS, dtype=torch.bool)
    mask[list(indices)] = True
    return sim.rows(mask.to(sim.device))


def spread(selected: Rows, values: torch.Tensor) -> torch.Tensor:
    """Values (k, ...) of the selected rows in the form that belongs to the selection."""
    everywhere = values.new_zeros(NUM_ENVS, *values.shape[1:])
    everywhere[selected.indices] = values
    return selected.take(everywhere)


def fly(sim: Simulation, plain: Plain | None, steps: range, substeps: int = 3) -> None:
    for step in steps:
        sim.write("ctrl", controls(step))
        sim.step(substeps)
        if plain is not None:
            plain.write("ctrl", controls(step))
            plain.step(substeps)


def shown(sim: Simulation, fields: tuple[str, ...]) -> dict[str, torch.Tensor]:
    return {field: sim.bind(field).clone() for field in fields}


def test_the_model_touches_the_floor_and_moves(plain: Plain) -> None:
    """What follows would prove little on a model at rest."""
    start = plain.lagged("qpos")
    contacts = 0
    for step in range(60):
        plain.write("ctrl", controls(step))
        plain.step(3)
        contacts += plain.data[0].ncon
    assert contacts > 20
    assert np.abs(plain.lagged("qpos") - start).max() > 0.3


def test_trajectories_are_those_of_mj_step(backend: Backend, sim: Simulation, plain: Plain) -> None:
    for field in backend.fields:
        sim.bind(field)
    for step in range(40):
        fly(sim, plain, range(step, step + 1), substeps=1 + step % 4)
        for field in STATE:
            backend.same(sim.bind(field), plain.lagged(field))


def test_bound_fields_are_current_after_a_step_unless_they_say_that_they_lag(
    backend: Backend, sim: Simulation, plain: Plain
) -> None:
    fields = ("xpos", "xmat", "site_xpos", "cvel", "subtree_com", "actuator_length", "actuator_velocity", "qfrc_bias")
    for field in fields:
        assert not sim.lags(field)
        sim.bind(field)
    fly(sim, plain, range(25))
    for field in fields:
        assert np.abs(plain.current(field) - plain.lagged(field)).max() > 1e-6, f"{field} proves nothing here"
        backend.same(sim.bind(field), plain.current(field))


@having("qacc", "qfrc_constraint", "actuator_force", "sensordata")
def test_fields_of_the_acceleration_stage_lag_one_substep(backend: Backend, sim: Simulation, plain: Plain) -> None:
    fields = ("qacc", "qfrc_constraint", "actuator_force", "sensordata")
    for field in fields:
        assert sim.lags(field)
        sim.bind(field)
    fly(sim, plain, range(25))
    for field in fields[:3]:
        assert np.abs(plain.current(field) - plain.lagged(field)).max() > 1e-6, f"{field} proves nothing here"
        backend.same(sim.bind(field), plain.lagged(field))
    # Within sensordata the accelerometer lags; the gyro and the place do not.
    backend.same(sim.bind("sensordata")[:, :3], plain.lagged("sensordata")[:, :3])
    backend.same(sim.bind("sensordata")[:, 3:], plain.current("sensordata")[:, 3:])


def test_sensordata_does_not_lag_without_a_sensor_of_accelerations(backend: Backend) -> None:
    spec = mujoco.MjSpec.from_string(XML)
    spec.delete(spec.sensor("acceleration"))
    assert not backend.make(spec.compile(), 2).lags("sensordata")


def test_binding_late_shows_the_present_and_changes_nothing(backend: Backend, sim: Simulation, plain: Plain) -> None:
    sim.bind("qpos")
    fly(sim, plain, range(20))
    backend.same(sim.bind("xpos"), plain.current("xpos"))
    backend.same(sim.bind("qvel"), plain.lagged("qvel"))
    fly(sim, plain, range(20, 40))
    backend.same(sim.bind("qpos"), plain.lagged("qpos"))
    backend.same(sim.bind("xpos"), plain.current("xpos"))


def test_a_bound_tensor_is_the_same_one_for_ever(backend: Backend, sim: Simulation) -> None:
    bound = {field: sim.bind(field) for field in backend.fields}
    fly(sim, None, range(2))
    sim.reset(rows(sim, 1))
    sim.restore(sim.snapshot())
    assert all(sim.bind(field) is tensor for field, tensor in bound.items())
    assert all(len(tensor) == NUM_ENVS for tensor in bound.values())


def test_forward_makes_derived_fields_current_after_a_write_and_leaves_the_state(
    backend: Backend, sim: Simulation, plain: Plain
) -> None:
    fields = backend.shows("xpos", "qacc")
    for field in fields:
        sim.bind(field)
    fly(sim, plain, range(10))
    lifted = torch.as_tensor(plain.lagged("qpos")) + torch.tensor([0.0, 0, 1, 0, 0, 0, 0, 0])
    sim.write("qpos", lifted)
    plain.write("qpos", lifted)
    sim.forward()
    for field in fields:
        backend.same(sim.bind(field), plain.current(field))
    fly(sim, plain, range(10, 30))
    backend.same(sim.bind("qpos"), plain.lagged("qpos"))


@pytest.mark.parametrize("field", sorted(STATE_FIELDS))
def test_a_write_of_rows_shows_at_once_and_leaves_the_others(
    backend: Backend, sim: Simulation, plain: Plain, field: str
) -> None:
    for name in backend.fields:
        sim.bind(name)
    fly(sim, plain, range(8))
    before = sim.bind(field).clone()
    values = before[[1, 3]] * 0.5 + 0.01
    selected = rows(sim, 1, 3)
    sim.write(field, spread(selected, values), selected)
    plain.write(field, values, [1, 3])
    assert torch.equal(sim.bind(field)[[1, 3]], values)
    assert torch.equal(sim.bind(field)[[0, 2, 4]], before[[0, 2, 4]])
    fly(sim, plain, range(8, 20))
    for name in (*STATE, field):
        backend.same(sim.bind(name), plain.lagged(name))


def test_a_write_of_all_takes_double_precision(backend: Backend, sim: Simulation, plain: Plain) -> None:
    qpos = torch.as_tensor(plain.lagged("qpos")) + 1e-9
    sim.write("qpos", qpos)
    plain.write("qpos", qpos)
    fly(sim, plain, range(20))
    backend.same(sim.bind("qpos"), plain.lagged("qpos"))


def test_only_state_can_be_written(sim: Simulation) -> None:
    with pytest.raises(UserError, match=r"'xpos' cannot be written; state fields are act, ctrl"):
        sim.write("xpos", torch.zeros(NUM_ENVS, 4, 3))


def test_each_world_has_its_own_masses_and_gains(backend: Backend, sim: Simulation, plain: Plain) -> None:
    """Against models edited one by one; row 0 keeps the model's own numbers."""
    factors = torch.tensor([1.0, 0.5, 1.25, 2.0, 3.0], dtype=torch.float64)
    sim.bind("subtree_com")
    for field in ("body_mass", "body_inertia", "actuator_gainprm", "geom_friction", "dof_damping"):
        nominal = torch.as_tensor(np.array(getattr(sim.model, field)))
        values = nominal * factors.reshape(-1, *[1] * nominal.ndim)
        if field == "geom_friction" and "ground" in backend.lacks:
            values[:, sim.model.geom("floor").id] = nominal[sim.model.geom("floor").id]
        sim.expand(field)
        sim.write_model(field, values)
        for model, value in zip(plain.models, values, strict=True):
            getattr(model, field)[:] = value.numpy()
    sim.commit()
    for model, data in zip(plain.models, plain.data, strict=True):
        mujoco.mj_setConst(model, data)
        mujoco.mj_resetData(model, data)
    fly(sim, plain, range(40))
    for field in (*STATE, "subtree_com"):
        truth = plain.current(field)
        backend.same(sim.bind(field), truth)
    ends = plain.lagged("qpos")
    assert all(np.abs(ends[row] - ends[0]).max() > 1e-3 for row in range(1, NUM_ENVS)), "masses made no difference"


def test_model_fields_of_some_rows(backend: Backend, sim: Simulation, plain: Plain) -> None:
    sim.expand("body_mass")
    nominal = torch.as_tensor(np.array(sim.model.body_mass))
    fly(sim, plain, range(5))
    selected = rows(sim, 1, 4)
    sim.write_model("body_mass", spread(selected, torch.stack((nominal * 2, nominal * 0.25))), selected)
    sim.commit(selected)
    for row, factor in ((1, 2.0), (4, 0.25)):
        plain.models[row].body_mass[:] *= factor
        mujoco.mj_setConst(plain.models[row], mujoco.MjData(plain.models[row]))
    fly(sim, plain, range(5, 30))
    backend.same(sim.bind("qpos"), plain.lagged("qpos"))


def test_commit_recomputes_what_depends_on_masses(sim: Simulation) -> None:
    """`body_subtreemass` and `dof_invweight0` follow; both are known for a mass that doubles everywhere."""
    before, _ = sim.world(2)
    selected = rows(sim, 2)
    for field in ("body_mass", "body_inertia"):
        doubled = 2.0 * torch.as_tensor(np.array(getattr(sim.model, field))).unsqueeze(0)
        sim.write_model(field, spread(selected, doubled), selected)
    sim.commit(selected)
    after, _ = sim.world(2)
    np.testing.assert_allclose(after.body_subtreemass, 2.0 * before.body_subtreemass, rtol=1e-6)
    np.testing.assert_allclose(after.dof_invweight0[:3], 0.5 * before.dof_invweight0[:3], rtol=0.01)  # armature stays
    untouched, _ = sim.world(1)
    np.testing.assert_allclose(untouched.body_subtreemass, before.body_subtreemass, rtol=1e-6)


def test_reset_of_rows_is_the_default_state_and_leaves_the_others(
    backend: Backend, sim: Simulation, plain: Plain
) -> None:
    for field in backend.fields:
        sim.bind(field)
    fly(sim, plain, range(20))
    sim.write("xfrc_applied", torch.ones(NUM_ENVS, 4, 6))
    plain.write("xfrc_applied", torch.ones(NUM_ENVS, 4, 6))
    before = shown(sim, backend.fields)
    sim.reset(rows(sim, 0, 3))
    for row in (0, 3):
        mujoco.mj_resetData(plain.models[row], plain.data[row])
    for field in STATE:
        backend.same(sim.bind(field), plain.lagged(field))
    sim.forward(rows(sim, 0, 3))
    for field in backend.fields:
        assert torch.equal(sim.bind(field)[[1, 2, 4]], before[field][[1, 2, 4]])
    backend.same(sim.bind("xpos"), plain.current("xpos"))
    fly(sim, plain, range(20, 50))
    for field in STATE:
        backend.same(sim.bind(field), plain.lagged(field))


def test_reset_of_all_keeps_model_fields(backend: Backend, sim: Simulation, plain: Plain) -> None:
    sim.expand("body_mass")
    sim.write_model("body_mass", torch.as_tensor(np.array(sim.model.body_mass)).expand(NUM_ENVS, -1) * 1.5)
    sim.commit()
    fly(sim, None, range(10))
    sim.reset()
    for model, data in zip(plain.models, plain.data, strict=True):
        model.body_mass[:] *= 1.5
        mujoco.mj_setConst(model, data)
        mujoco.mj_resetData(model, data)
    fly(sim, plain, range(20))
    backend.same(sim.bind("qpos"), plain.lagged("qpos"))


@pytest.mark.parametrize("fresh", [False, True], ids=["same simulation", "another simulation"])
def test_a_snapshot_continues_exactly(backend: Backend, sim: Simulation, fresh: bool) -> None:
    """Also in a new process' simulation, with fields that were expanded, activations and lagged sensors."""
    for field in backend.fields:
        sim.bind(field)
    for field in ("body_mass", "actuator_dynprm"):
        sim.expand(field)
        nominal = torch.as_tensor(np.array(getattr(sim.model, field)))
        factor = torch.linspace(0.8, 1.3, NUM_ENVS, dtype=torch.float64).reshape(-1, *[1] * nominal.ndim)
        sim.write_model(field, nominal * factor)
    sim.commit()
    fly(sim, None, range(20))
    saved = sim.snapshot()
    kept = {name: value.clone() for name, value in saved.items()}
    at_snapshot = shown(sim, backend.fields)
    assert at_snapshot["act"].abs().min() > 0
    fly(sim, None, range(20, 45))
    expected = shown(sim, backend.fields)

    other = backend.make(mujoco.MjModel.from_xml_string(XML), NUM_ENVS) if fresh else sim
    other.restore(saved)
    for field in backend.fields:
        assert torch.equal(other.bind(field), at_snapshot[field]), field
    fly(other, None, range(20, 45))
    for field in backend.fields:
        assert torch.equal(other.bind(field), expected[field]), field
    assert all(torch.equal(saved[name], kept[name]) for name in kept), "a snapshot does not change afterwards"


def test_restoring_undoes_what_was_expanded_later(sim: Simulation) -> None:
    saved = sim.snapshot()
    fly(sim, None, range(15))
    expected = sim.bind("qpos").clone()
    sim.expand("body_mass")
    sim.write_model("body_mass", torch.as_tensor(np.array(sim.model.body_mass)).expand(NUM_ENVS, -1) * 3.0)
    sim.commit()
    sim.restore(saved)
    fly(sim, None, range(15))
    assert torch.equal(sim.bind("qpos"), expected)


def test_a_snapshot_of_another_size_is_refused(backend: Backend, sim: Simulation, model: mujoco.MjModel) -> None:
    with pytest.raises(UserError, match="continue with the same task, robot and num_envs"):
        backend.make(model, NUM_ENVS + 1).restore(sim.snapshot())


@pytest.mark.parametrize(
    ("field", "value"),
    [("qvel", 1e30), ("qvel", 1e12), ("qpos", torch.nan), ("act", torch.nan), ("qfrc_applied", torch.inf)],
)
def test_a_world_that_diverges_stays_visibly_broken_and_alone(
    backend: Backend, sim: Simulation, plain: Plain, field: str, value: float
) -> None:
    for name in backend.fields:
        sim.bind(name)
    fly(sim, plain, range(5))
    selected = rows(sim, 2)
    sim.write(field, spread(selected, torch.full_like(sim.bind(field)[:1], value)), selected)
    others = [0, 1, 3, 4]
    for step in range(5, 20):
        fly(sim, plain, range(step, step + 1), substeps=4)
        state = torch.cat((sim.bind("qpos"), sim.bind("qvel")), 1)
        assert not torch.isfinite(state[2]).all()
        assert torch.isfinite(state[others]).all()
    for name in STATE:
        backend.same(sim.bind(name)[others], plain.lagged(name)[others])
    sim.reset(rows(sim, 2))
    sim.forward(rows(sim, 2))
    mujoco.mj_resetData(plain.models[2], plain.data[2])
    fly(sim, plain, range(20, 40))
    for name in STATE:
        backend.same(sim.bind(name), plain.lagged(name))


def test_a_command_that_is_not_a_number_stays_visible(sim: Simulation) -> None:
    """MuJoCo itself steps on with zero in its place, so that the state tells nothing; the bound `ctrl` does."""
    sim.bind("ctrl")
    commands = controls(0)
    commands[1] = torch.nan
    sim.write("ctrl", commands)
    sim.step(4)
    assert not torch.isfinite(sim.bind("ctrl")[1]).any()
    assert torch.isfinite(sim.bind("ctrl")[[0, 2, 3, 4]]).all()


def test_one_world_to_look_at(backend: Backend, sim: Simulation, plain: Plain) -> None:
    sim.expand("body_mass")
    mass = torch.as_tensor(np.array(sim.model.body_mass)) * 1.5
    selected = rows(sim, 3)
    sim.write_model("body_mass", spread(selected, mass.unsqueeze(0)), selected)
    sim.commit(selected)
    fly(sim, None, range(15))
    before = shown(sim, backend.fields)
    model, data = sim.world(3)
    np.testing.assert_allclose(model.body_mass, mass, rtol=1e-7)
    np.testing.assert_allclose(sim.world(2)[0].body_mass, plain.models[2].body_mass, rtol=1e-7)
    np.testing.assert_allclose(data.qpos, before["qpos"][3], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(data.xpos, before["xpos"][3], rtol=1e-6, atol=1e-6)
    # A copy: whatever is done with it leaves the simulation alone.
    data.qpos[:] = 7.0
    model.body_mass[:] = 7.0
    mujoco.mj_step(model, data)
    sim.forward()
    assert torch.equal(sim.bind("qpos"), before["qpos"])
    assert torch.equal(sim.bind("xpos"), before["xpos"])


def test_rows_and_worlds(sim: Simulation) -> None:
    assert sim.world_index().tolist() == list(range(NUM_ENVS))
    assert sim.num_envs == NUM_ENVS
    assert sim.bind("qpos").device == sim.device


@pytest.mark.parametrize("num_envs", [0, -3])
def test_no_worlds_are_refused(backend: Backend, model: mujoco.MjModel, num_envs: int) -> None:
    with pytest.raises(UserError, match=f"num_envs must be at least 1, not {num_envs}"):
        backend.make(model, num_envs)


@pytest.mark.parametrize(("wrong", "right"), [("qpo", "qpos"), ("xposs", "xpos"), ("sensor_data", "sensordata")])
def test_an_unknown_field_names_the_nearest_right_one(sim: Simulation, wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=rf"no field '{wrong}'; did you mean .*\b{right}\b"):
        sim.bind(wrong)


def test_an_unknown_model_field_names_the_nearest_right_one(sim: Simulation) -> None:
    for call in (lambda: sim.expand("body_mas"), lambda: sim.write_model("body_mas", torch.ones(NUM_ENVS, 4))):
        with pytest.raises(UserError, match=r"no field 'body_mas' .*did you mean .*body_mass"):
            call()
