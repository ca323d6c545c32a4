"""What tokens cost in dollars: as the configuration says, else by the price list of genai-prices, else unknown.

The list came with the package and is not fetched anew; a provider may have changed its prices since. Cached tokens are
counted at the full price, so the estimate errs on the expensive side.
"""

from genai_prices import calc_price
from genai_prices.types import Usage as TokenCount

from robo_ppo.config import LLMConfig
from robo_ppo.errors import UserError

_LISTED = ("openai", "anthropic", "google")


class Prices:
    """The prices of one model."""

    def __init__(self, config: LLMConfig) -> None:
        """Prices as far as they are known.

        Raises:
            UserError: a budget in dollars is asked for, and they are not; or half of them are given.
        """
        given = [config.input_price, config.output_price]
        if (config.input_price is None) != (config.output_price is None):
            raise UserError("llm.input_price and llm.output_price ($ for a million tokens) belong together")
        if any(price is not None and not 0 <= price < 1e9 for price in given):
            raise UserError("llm.input_price and llm.output_price must be 0 or more ($ for a million tokens)")
        self._config = config
        if config.max_dollars is not None and self.dollars(1, 1) is None:
            raise UserError(
                f"llm.max_dollars={config.max_dollars:g}, and nobody knows the price of llm.model={config.model}; set "
                "llm.input_price and llm.output_price ($ for a million tokens), or limit tokens with "
                "llm.max_input_tokens and llm.max_output_tokens and set llm.max_dollars=null"
            )

    def dollars(self, input_tokens: int, output_tokens: int) -> float | None:
        """What so many tokens cost."""
        config = self._config
        if config.input_price is not None and config.output_price is not None:
            return (input_tokens * config.input_price + output_tokens * config.output_price) / 1e6
        if config.name not in _LISTED:
            return None
        count = TokenCount(input_tokens=input_tokens, output_tokens=output_tokens)
        try:
            return float(calc_price(count, config.model or "", provider_id=config.name).total_price)
        except LookupError:
            return None
