"""What asking may cost: requests, tokens and money, looked at before every request.

A request that might go beyond a limit is not sent: its answer may be as long as it is allowed to be, so that much must
be left. What a question costs to read is an estimate, which can be too low; then the request after it is not sent.
"""

from robo_ppo.config import LLMConfig
from robo_ppo.errors import UserError
from robo_ppo.shaping.llm.model import BudgetSpent, Usage


class Budget:
    """Counts what was spent against the limits of a configuration; a limit that is None does not exist."""

    def __init__(self, config: LLMConfig, spent: Usage) -> None:
        self.spent = spent
        self._limits = {
            "max_requests": config.max_requests,
            "max_input_tokens": config.max_input_tokens,
            "max_output_tokens": config.max_output_tokens,
            "max_dollars": config.max_dollars,
        }
        for key, limit in self._limits.items():
            if limit is not None and not limit >= 0:
                raise UserError(f"llm.{key}={limit}; it must be 0 or more, or null for no limit")

    def allow(self, next_request: Usage) -> None:
        """Nothing, if a request that may cost this much is within the budget.

        Raises:
            BudgetSpent: it is not.
        """
        if not next_request.requests:
            return
        after = self.spent + next_request
        amounts = {
            "max_requests": after.requests,
            "max_input_tokens": after.input_tokens,
            "max_output_tokens": after.output_tokens,
            "max_dollars": after.dollars,
        }
        for key, limit in self._limits.items():
            amount = amounts[key]
            if limit is None or (amount is not None and amount <= limit):
                continue
            if amount is None:
                raise BudgetSpent(f"llm.{key}={limit:g}, and nobody knows what was paid")
            raise BudgetSpent(f"llm.{key}={limit:g}: spent {self.said()}; the next request might go beyond it")

    def add(self, usage: Usage) -> None:
        """Count what was paid."""
        self.spent += usage

    def said(self) -> str:
        """What was spent, in words."""
        return told(self.spent)


def told(usage: Usage) -> str:
    """A usage in words: 3 requests, 12,345 input and 678 output tokens, $0.0123."""
    money = "price unknown" if usage.dollars is None else f"${usage.dollars:.4g}"
    tokens = f"{usage.input_tokens:,} input and {usage.output_tokens:,} output tokens"
    return f"{usage.requests} request{'s' * (usage.requests != 1)}, {tokens}, {money}"
