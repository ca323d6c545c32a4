"""Sweeps: several trainings from one command, `python train.py -m seed=0,1,2`.

Hydra's sweeper says which trials there are, a launcher says where they train: one after another
(`hydra/launcher=serial`, the default), side by side on this machine (`joblib`), on a Ray cluster (`ray`) or through
Slurm (`submitit_slurm`). Every trial is a usual run in a folder of its own below that of the sweep,

    runs/uav_nav/sweep_2026-11-21_10-30-00/
      trials.csv  multirun.yaml
      seed-0/  seed-1/  seed-2/       config.yaml  trial.json  output.log  checkpoints/  policy.onnx …

and a process of its own (`trial.py`), which `attempt.py` starts wherever the launcher says, and starts again from the
newest checkpoint if it is killed. What is known of a trial is in its `trial.json` (`record.py`). So a sweep goes on
where it stopped when the same command is given again with `hydra.sweep.dir=<its folder>`.
"""
