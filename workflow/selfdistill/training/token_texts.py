"""Cuts a response into the text of each of its tokens."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

#: A character is at most four bytes; a longer run of incomplete ones is not going to be completed.
_MOST_PENDING = 8


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Return the text that each token adds; joined, they are the decoded ids, special tokens included.

    Tokens of a byte-level vocabulary may hold a part of a character only. The last of them gets the whole character,
    the others an empty text; bytes that never become a character are shown as the tokenizer shows them.
    """

    def decoded(first: int, last: int) -> str:
        return tokenizer.decode(ids[first:last], skip_special_tokens=False, clean_up_tokenization_spaces=False)

    texts = []
    # What a token adds may depend on the one before it (a word's leading space), so each is read behind some others.
    context, done = 0, 0
    for position in range(len(ids)):
        before, now = decoded(context, done), decoded(context, position + 1)
        pending = now.endswith("\ufffd") and position + 1 < len(ids) and position - done < _MOST_PENDING
        if pending or len(now) <= len(before):
            texts.append("")
        else:
            texts.append(now[len(before) :])
            context, done = done, position + 1
    return texts
