"""Files of the Hugging Face hub, and the lock that holds them to commits and digests."""
