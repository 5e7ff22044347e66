"""Pictures in parquets: what is known at once, what is read late, and rows that are refused."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from tiny_vision import picture, pictured_problem

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.tasks import pictures
from selfdistill.tasks.data_report import DataFile, data_report
from selfdistill.tasks.datasets import check_disjoint, import_file
from selfdistill.tasks.pictures import InParquet, Picture
from selfdistill.tasks.schema import SCHEMA, Problem, read_problems, write_problems


@pytest.fixture
def many(monkeypatch):
    monkeypatch.setattr(pictures, "ROW_GROUP", 2)
    monkeypatch.setattr("selfdistill.tasks.schema.ROW_GROUP", 2)
    shown = [(picture(1),), (picture(2, 32, 24), picture(3)), (), (picture(1),), (picture(4),)]
    return [pictured_problem(i, *each) for i, each in enumerate(shown)]


def encoded(image, kind, **how):
    held = io.BytesIO()
    image.save(held, kind, **how)
    return held.getvalue()


def spoilt(whole):
    """A picture's bytes with one bit turned round: Pillow makes another picture of it, and says nothing."""
    data = bytearray(whole.read())
    data[data.index(b"IDAT") + 8] ^= 1
    return bytes(data)


def rewritten(path, change):
    """The file with its rows changed in place."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def test_what_was_written_is_read_late_byte_for_byte(many, tmp_path):
    file = tmp_path / "train.parquet"
    write_problems(file, many)
    assert pq.ParquetFile(file).num_row_groups == 3
    found = read_problems(file)
    assert [p.images for p in found] == [p.images for p in many]
    assert [p.problem for p in found] == [p.problem for p in many]
    for written, read in zip(many, found, strict=True):
        for one, other in zip(written.images, read.images, strict=True):
            assert isinstance(other.source, InParquet)
            assert other.read() == one.read()
            assert Picture.at(other.reference) == other
            assert Picture.at(other.reference).read() == one.read()
    assert found[1].images[0].image().size == (32, 24)
    assert found[0].images == found[3].images  # the same picture, wherever it is


def test_problems_without_pictures_are_written_as_ever(tmp_path):
    made = [Problem("a/0", "a", "1 + 1?", "2", "", "math", 0, "train")]
    write_problems(tmp_path / "a.parquet", made)
    assert pq.read_schema(tmp_path / "a.parquet") == SCHEMA
    assert read_problems(tmp_path / "a.parquet")[0].images == ()
    write_problems(tmp_path / "b.parquet", made)
    assert sha256_file(tmp_path / "a.parquet") == sha256_file(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1]["images"].pop(), r"row 1 .* has 1 pictures in column images, but 2 times <image>"),
        (lambda rows: rows[2].update(images=rows[0]["images"]), r"row 2 .* has 1 pictures .* but 0 times <image>"),
        (lambda rows: rows[0].update(images=None), r"row 0 .* has 0 pictures .* but 1 times <image>"),
        (lambda rows: rows[0]["images"][0].update(bytes=None, path="a.png"), r"row 0 .*, picture 0: .* no bytes"),
        (lambda rows: rows[3]["images"][0].update(bytes=b"not a picture"), r"row 3 .*: its bytes are no picture"),
        (lambda rows: rows[3]["images"][0].update(bytes=b"<svg onload='x()'/>"), r"\(cannot identify an image file\)"),
        (lambda rows: rows[3]["images"][0].update(bytes=spoilt(picture(1))), r"row 3 .*no picture that .*broken PNG"),
    ],
)
def test_rows_whose_pictures_are_not_what_is_asked_are_refused(many, tmp_path, change, message):
    file = tmp_path / "train.parquet"
    write_problems(file, many)
    rewritten(file, change)
    with pytest.raises(UserError, match=message):
        read_problems(file)


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view(), pa.binary(len(picture(1).read()))])
def test_bytes_may_be_of_any_of_arrows_types(kind, tmp_path):
    file = tmp_path / "train.parquet"
    write_problems(file, [pictured_problem(0, picture(1))])
    table = pq.read_table(file).drop_columns(["images"])
    held = pa.array([[{"bytes": picture(1).read()}]], pa.large_list(pa.struct([("bytes", kind)])))
    pq.write_table(table.append_column("images", held), file)
    [found] = import_file(file, tmp_path / "made.parquet")
    assert found.images == (picture(1),)
    assert found.images[0].read() == picture(1).read()


def test_a_column_of_another_type_is_refused(many, tmp_path):
    file = tmp_path / "train.parquet"
    write_problems(file, many)
    table = pq.read_table(file).drop_columns(["images"])
    paths = pa.array([["a.png"]] * len(table), pa.list_(pa.string()))
    pq.write_table(table.append_column("images", paths), file)
    with pytest.raises(UserError, match=r"column images holds list<.*>, expected a list of structs with a field bytes"):
        read_problems(file)


def test_a_file_that_changes_under_way_is_noticed(many, tmp_path):
    file = tmp_path / "train.parquet"
    write_problems(file, many)
    first = read_problems(file)[0].images[0]
    write_problems(file, many[1:])
    with pytest.raises(UserError, match="another picture than when the file was read first"):
        first.read()
    file.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        first.read()


def test_what_is_transparent_lies_on_white_and_what_is_cut_short_is_refused():
    held = io.BytesIO()
    Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(held, "PNG")
    assert Picture.of(held.getvalue()).image().getpixel((3, 3)) == (255, 255, 255)
    short = Picture.of(held.getvalue()[:50])
    with pytest.raises(UserError, match="cannot be decoded"):
        short.image()
    held = io.BytesIO()
    Image.new("RGB", (16, 16)).save(held, "PPM")
    with pytest.raises(ValueError, match="cannot identify"):
        Picture.of(held.getvalue())
    with pytest.raises(ValueError, match="in this process's memory"):
        _ = picture(1).reference


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_sixteen_bits_is_grey(kind):
    ramp = np.linspace(0, 65535, 24 * 24).reshape(24, 24)
    seen = np.asarray(Picture.of(encoded(Image.fromarray(ramp.astype(np.uint16)), kind)).image(), float)
    assert np.abs(seen - ramp[..., None] / 257).max() < 1
    with pytest.raises(ValueError, match="32 bits a pixel"):
        Picture.of(encoded(Image.fromarray(ramp.astype(np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("held", [1, 3, 6, 7, 9])
def test_a_photograph_stands_upright(kind, held):
    scene = Image.new("RGB", (32, 16), "red")
    scene.paste("blue", (0, 0, 8, 16))
    exif = Image.Exif()
    exif[0x0112] = held
    data = encoded(scene, kind, exif=exif)
    found, upright = Picture.of(data), ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert (found.width, found.height) == found.image().size == upright.size
    assert found.image().tobytes() == upright.tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "LAB", "RGBA"])
def test_other_modes_are_what_they_show(mode):
    ramp = Image.linear_gradient("L").resize((24, 24)).convert("RGB")
    seen = Picture.of(encoded(ramp.convert(mode), "TIFF" if mode in ("CMYK", "YCbCr", "LAB") else "PNG")).image()
    assert seen.mode == "RGB"
    assert abs(np.asarray(seen, float).mean() - np.asarray(ramp, float).mean()) < 4


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "BMP"])
def test_a_picture_that_was_cut_short_is_found_where_its_file_is_made(kind, tmp_path):
    whole = Picture.of(encoded(Image.linear_gradient("L"), kind))
    file, made = tmp_path / "train.parquet", [pictured_problem(0, picture(1)), pictured_problem(1, whole)]
    write_problems(file, made)
    import_file(file, tmp_path / "whole.parquet")
    rewritten(file, lambda rows: rows[1]["images"][0].update(bytes=whole.read()[:-300]))
    with pytest.raises(UserError, match=r"row 1 .*, picture 0: the picture cannot be decoded .*truncated"):
        import_file(file, tmp_path / "cut.parquet")
    assert not (tmp_path / "cut.parquet").exists()


def test_pictures_whose_places_are_in_a_chat_of_their_own_are_compared_and_reported_too(tmp_path):
    file, other = tmp_path / "train.parquet", tmp_path / "val.parquet"
    for path, number in ((file, 1), (other, 2)):
        write_problems(path, [pictured_problem(0, picture(number))])
        rewritten(path, lambda rows: rows[0]["extra_info"].update(problem="17 + 4?"))
        assert len(import_file(path, tmp_path / "made.parquet", own_prompts=True)[0].images) == 1
        with pytest.raises(UserError, match=r"1 pictures .* 0 times <image> in its question"):
            import_file(path, tmp_path / "made.parquet")
    assert check_disjoint(file, other) == 0
    with pytest.raises(UserError, match="1 of its problems are also in"):
        check_disjoint(file, file)
    files = [DataFile(n, split, str(path), "maths", {"exercise": "x", "seed": 0}) for n, split, path in
             (("a", "train", file), ("b", "val", other))]  # fmt: skip
    found = {row.finding: row.value for row in data_report(files, [("a", "b")])}
    assert found["pictures also in a, byte for byte"] == 0
    assert found["questions also in a, whatever their pictures"] == 1


def test_a_spoilt_picture_is_not_taken_for_another_one():
    with pytest.raises(UserError, match=r"cannot be decoded \(SyntaxError: broken PNG|cannot be decoded \(.*IDAT"):
        Picture.of(spoilt(picture(1))).image()


def test_equal_questions_about_unlike_pictures_are_different_problems(tmp_path):
    file = tmp_path / "train.parquet"
    made = [pictured_problem(0, picture(n)) for n in (1, 2)]
    write_problems(file, made)
    assert [p.id for p in read_problems(file)] == ["cells/0", "cells/1"]
    write_problems(file, [made[0], made[0]])
    with pytest.raises(UserError, match="1 rows repeat"):
        read_problems(file)


def test_pictures_in_a_column_of_another_name_are_not_passed_over(many, tmp_path):
    file = tmp_path / "train.parquet"
    write_problems(file, many)
    table = pq.read_table(file)
    pq.write_table(table.rename_columns({"images": "image"}), file)
    with pytest.raises(UserError, match=r"column image holds pictures, expected them in column images"):
        read_problems(file)
