"""Where weights come from, how they are loaded, and how a chat is put to them."""
