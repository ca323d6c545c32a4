"""The numbers beside the picture, as HTML: episode, outcome, readings, and how well the machine keeps up."""

from robo_ppo.run import palette
from robo_ppo.run.live.player import Player
from robo_ppo.run.overlay import reading_text
from robo_ppo.run.templates import template


def readout(player: Player) -> str:
    """What there is to know now."""
    session = player.session
    length = session.environment.max_episode_steps * session.period
    rows = [("time", f"{session.time:.2f} of {length:g} s"), ("return", f"{session.total_reward:z.2f}")]
    rows += [reading_text(label, float(session.values[signal])) for label, signal in session.task.readings().items()]
    if session.intervention:
        rows.append(("safety net", session.intervention))
    return template("live/readout.html.jinja").render(
        episode=session.episode,
        state=_state(player),
        rows=rows,
        pace=_pace(player),
        slow=not player.clock.keeps_up,
        successes=session.successes,
        outcomes=session.outcomes,
    )


def _state(player: Player) -> tuple[str, str]:
    """How the episode stands, in a word and a colour."""
    outcome = player.session.outcome
    if outcome is not None:
        return palette.outcome_label(outcome), palette.outcome_colour(outcome)
    return ("Running", palette.PATH) if player.is_playing else ("Paused", palette.MUTED)


def _pace(player: Player) -> str:
    """Simulated seconds per second, and a word where the machine is too slow."""
    factor = player.clock.factor
    if factor is None or not player.is_playing or player.session.outcome is not None:
        return "–"
    return f"{factor:.1f}×" if player.clock.keeps_up else f"{factor:.2f}×: too slow here for {player.clock.speed:g}×"
