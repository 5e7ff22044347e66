"""Gets weights, loads them, and renders chats for them."""
