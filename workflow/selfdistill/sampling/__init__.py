"""How text is drawn and scored: one interface over an own loop and transformers; ids and log-probs come along."""
