"""Log-probs of given text, and what prefixes share."""
