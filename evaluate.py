"""Measure and film an exported policy: `python evaluate.py run=latest` or `bundle=policy.onnx`."""

from robo_ppo.command_line import evaluate

if __name__ == "__main__":
    evaluate()
