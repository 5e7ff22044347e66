"""What is made from the code: a module a kind of page, put together by docs/generate.py."""
