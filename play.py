"""Fly a policy live in the browser: `python play.py run=latest`, `bundle=policy.onnx` or `agent=zero`."""

from robo_ppo.command_line import play

if __name__ == "__main__":
    play()
