"""Running programs that a model wrote: what they may touch, how long they may take, and what came of them."""
