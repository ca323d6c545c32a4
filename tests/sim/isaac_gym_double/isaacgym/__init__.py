"""A stand-in for Isaac Gym over MuJoCo: the part of its interface that the worker uses, with its rules enforced.

It lies on the path of the worker under Isaac Gym's name. One MuJoCo model and one `mj_step` loop stand for each
environment. What Isaac Gym leaves to the person's care is an error here:

- tensors can be acquired only after `prepare_sim`, and assets, environments and actors made only before;
- a tensor shows old numbers until it is refreshed, and what was set shows only after the next `simulate`;
- setters take the full float32 buffer of all actors, int32 indices of actors, and one call each between two steps;
- forces last one step; results must be fetched on the CPU before a refresh;
- quaternions are xyzw, velocities those of the centre of mass in world axes, places include each world's origin.

Links and dofs stand in another order than in the file, as an importer is free to do. States are rounded to float32
after every step and MuJoCo's warm start is off, so that a state is all that the next step depends on; PhysX keeps more.
"""
