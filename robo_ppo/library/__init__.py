"""The policy library: exported policies with cards that say what they do, and a way to find the one for a task.

    python -m robo_ppo.library add bundle=policy.onnx name=gate text="Fly through a square gate"
    python -m robo_ppo.library list
    python evaluate.py bundle=$(python -m robo_ppo.library select "fly through the gate")

`cards` says what a card is, `shelf` keeps them in a folder beside their bundles, `keywords` finds one by its words and
`choice` by a language model. Whatever stands in a card or comes from a model is untrusted text.
"""
