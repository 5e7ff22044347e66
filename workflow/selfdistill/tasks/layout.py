"""Knows how the paper's hub dataset lays out its columns: checks a parquet's types, and gives those of large files."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from selfdistill.errors import UserError

_IS_LIST = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
_IS_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
_IS_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)


def large_schema(extra: str, *, pictures: bool = False) -> pa.Schema:
    """Return the layout for files of which a column may hold more than offsets of 32 bits reach.

    Args:
        extra: one more text in extra_info.
        pictures: whether there is a column of them.
    """
    text = pa.large_string()
    told = [("index", pa.int64()), *((name, text) for name in ("split", "problem", "solution", extra))]
    images = pa.large_list(pa.struct([("bytes", pa.large_binary()), ("path", text)]))
    return pa.schema(
        [
            ("data_source", text),
            ("prompt", pa.large_list(pa.struct([("role", text), ("content", text)]))),
            *([("images", images)] if pictures else []),
            ("ability", text),
            ("reward_model", pa.struct([("style", text), ("ground_truth", text)])),
            ("extra_info", pa.struct(told)),
        ]
    )


def check_layout(path: str | os.PathLike, schema: pa.Schema, needed: Iterable[str], expected: Iterable[str]) -> None:
    """Refuse a file that lacks a column, or has one twice, flat or of another type.

    Args:
        path: for the messages.
        schema: of the file.
        needed: dotted names of the columns that it must have.
        expected: those of a whole file, for the messages.

    Raises:
        UserError: naming the column, its type, and what was expected.
    """
    for name, type_ in _each(schema):
        if name in _LAYOUT:
            what, is_right, advice = _LAYOUT[name]
            if not is_right(type_):
                raise UserError(f"{path}: column {name} holds {type_}, expected {what}; {advice}")
    counts = Counter(name for name, _ in _each(schema) if name in _LAYOUT or name.startswith("prompt."))
    if twice := [name for name, count in counts.items() if count > 1]:
        raise UserError(f"{path}: column {twice[0]} is there twice, expected once; drop or rename one of the two")
    present = dict(_each(schema))
    flat = [name for name in schema.names if "." in name and name in _LAYOUT and name not in present]
    if flat:
        raise UserError(
            f"{path}: column {flat[0]} is flat, with a dot in its name, expected field {flat[0].partition('.')[2]} of "
            f"column {flat[0].partition('.')[0]}; nest it"
        )
    elsewhere = [column.name for column in schema if _holds_pictures(column.type)]
    if elsewhere and "images" not in schema.names:
        raise UserError(
            f"{path}: column {elsewhere[0]} holds pictures, expected them in column images, a list in each row; "
            "rename it, or drop it where the questions need none"
        )
    missing = [name for name in needed if name not in present]
    if missing:
        raise UserError(
            f"{path}: missing column {', '.join(missing)}; the file has {', '.join(leaves(schema))}. "
            f"Expected the schema of the paper's hub dataset: {', '.join(expected)}; of a table with a question and an "
            "answer a row, `python -m selfdistill.tasks.table` makes such a file"
        )


def leaves(fields: Iterable[pa.Field], prefix: str = "") -> dict[str, pa.DataType]:
    """Type of each innermost field by its dotted name; lists are passed through."""
    found = {}
    for field in fields:
        inner = field.type
        while _is_list(inner):
            inner = inner.value_type
        name = prefix + field.name
        found.update(leaves(inner, name + ".") if pa.types.is_struct(inner) else {name: inner})
    return found


def _each(schema: pa.Schema) -> Iterator[tuple[str, pa.DataType]]:
    """Every column, and every field of one that is a struct, or of a prompt's messages, as often as it is there."""
    for column in schema:
        if "." in column.name:
            continue
        yield column.name, column.type
        inner = column.type
        if column.name == "prompt" and _is_list(inner):
            inner = inner.value_type
        if pa.types.is_struct(inner):
            for field in inner:
                yield f"{column.name}.{field.name}", field.type


def _is_list(type_: pa.DataType) -> bool:
    return any(is_kind(type_) for is_kind in _IS_LIST)


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return any(is_kind(type_) for is_kind in _IS_TEXT)


def _is_answer(type_: pa.DataType) -> bool:
    return _is_text(type_) or (_is_list(type_) and _is_text(type_.value_type))


def _is_messages(type_: pa.DataType) -> bool:
    return pa.types.is_null(type_) or (
        _is_list(type_) and (pa.types.is_struct(type_.value_type) or pa.types.is_null(type_.value_type))
    )


def _is_pictures(type_: pa.DataType) -> bool:
    if not _is_list(type_) or not pa.types.is_struct(type_.value_type):
        return pa.types.is_null(type_) or (_is_list(type_) and pa.types.is_null(type_.value_type))
    held = {field.name: field.type for field in type_.value_type}
    return any(is_kind(held.get("bytes", pa.null())) for is_kind in _IS_BYTES)


def _holds_pictures(type_: pa.DataType) -> bool:
    """Returns whether a column is what data sets have pictures as: {bytes, path}, or a list of such."""
    inner = type_.value_type if _is_list(type_) else type_
    return pa.types.is_struct(inner) and {"bytes", "path"} <= {field.name for field in inner}


def _is_struct(type_: pa.DataType) -> bool:
    return pa.types.is_null(type_) or pa.types.is_struct(type_)


_TEXT = ("text", _is_text, "write it as strings")
_NESTED = "if it is JSON, parse it, and write it as one"
#: By dotted name: what a column holds, whether a type does, and what to do about one that does not.
_LAYOUT: dict[str, tuple[str, Callable[[pa.DataType], bool], str]] = {
    "data_source": _TEXT,
    "prompt": ("a list of messages, structs of role and content", _is_messages, _NESTED),
    "prompt.content": _TEXT,
    "ability": _TEXT,
    "reward_model": ("a struct with a field ground_truth", _is_struct, _NESTED),
    "reward_model.ground_truth": ("text, or a list of one text", _is_answer, "write it as strings"),
    "extra_info": ("a struct of index, split, problem and solution", _is_struct, _NESTED),
    "extra_info.index": ("a number", lambda _: True, ""),  # of another type it gives way to the row's number
    "extra_info.split": _TEXT,
    "extra_info.problem": _TEXT,
    "extra_info.solution": _TEXT,
    "extra_info.cluster": _TEXT,
    "images": (
        "a list of structs with a field bytes (of image files)",
        _is_pictures,
        "write the files' bytes into it, or drop it",
    ),
}
