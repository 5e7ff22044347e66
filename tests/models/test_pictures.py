"""A folder of a model that reads pictures: its parts, its reader, prompts with pictures, and what is written again."""

import json
from dataclasses import replace

import pytest
import torch
from tiny_vision import (
    PROCESSOR,
    picture,
    pictured_problem,
    vision_folder,
    vision_model,
    vision_reader,
    vision_tokenizer,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_messages
from selfdistill.models.first_day import check_model
from selfdistill.models.loading import load_config, load_model, load_tokenizer
from selfdistill.models.pictures import picture_reader, problem_pictures
from selfdistill.models.saving import save_model
from selfdistill.models.template_check import check_prompts
from selfdistill.scoring.prompts import keyed
from selfdistill.study.run_settings import ChatSettings
from selfdistill.tasks.prompts import INSTRUCTION, Message, student_messages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return vision_folder(tmp_path_factory.mktemp("vision"))


@pytest.fixture
def changed(folder, tmp_path):
    """The folder with one of its files changed."""

    def change(name, **values):
        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        content = json.loads((tmp_path / name).read_text())
        for key, value in values.items():
            *above, last = key.split("__")
            part = content
            for each in above:
                part = part[each]
            part[last] = value
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return change


def test_a_folder_is_loaded_tried_and_written_again(folder, changed, tmp_path):
    model, tokenizer = load_model(folder, torch.device("cpu"))
    folder = changed("config.json")
    (folder / "video_preprocessor_config.json").write_text('{"max_frames": 3}')
    assert type(model).__name__ == "Qwen3VLForConditionalGeneration"
    assert check_model(model).together
    check_prompts(tokenizer, ChatSettings())
    reader = picture_reader(folder, model.config, ChatSettings())
    save_model(model, tokenizer, tmp_path / "out", reader)
    again, _ = load_model(tmp_path / "out", torch.device("cpu"))
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    assert json.loads((tmp_path / "out" / "preprocessor_config.json").read_text()) == PROCESSOR
    assert (tmp_path / "out" / "video_preprocessor_config.json").read_text() == '{"max_frames": 3}'


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("config.json", {"vision_config__out_hidden_size": 16}, "out_hidden_size is 16, text_config.hidden_size 32"),
        ("config.json", {"text_config__rope_parameters__mrope_section": [3, 3, 3]}, "whose sum is 8"),
        ("config.json", {"vision_config__num_position_embeddings": 35}, "expected a square"),
        ("config.json", {"vision_config__deepstack_visual_indexes": [2]}, "expected layers below its depth"),
        ("config.json", {"vision_config__deepstack_visual_indexes": [0, 1, 1]}, "no more than text_config"),
        ("config.json", {"vision_config__num_heads": 16}, "width 4 divides"),
        ("config.json", {"tie_word_embeddings": False}, "another output layer"),
        ("config.json", {"image_token_id": 9}, "image_token_id is 9, but the tokenizer has <|image_pad|> as"),
        ("preprocessor_config.json", {"patch_size": 8}, "patch_size is 8, vision_config.patch_size 4"),
        ("preprocessor_config.json", {"temporal_patch_size": 1}, "vision_config.temporal_patch_size 2"),
        ("preprocessor_config.json", {"merge_size": 3}, "merge_size is 3, vision_config.spatial_merge_size 2"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(changed, name, values, message):
    with pytest.raises(UserError) as refused:
        load_tokenizer(changed(name, **values))
    assert message in str(refused.value)


def test_a_folder_without_its_image_processor_is_refused_and_newer_ones_have_it_elsewhere(changed):
    folder = changed("config.json")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"neither preprocessor_config\.json nor section image_processor"):
        load_tokenizer(folder)
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    load_tokenizer(folder)
    assert picture_reader(folder, load_config(folder), ChatSettings()).bounds == (64, 1024)


@pytest.mark.parametrize("size", [(24, 24), (32, 24), (72, 40), (8, 8), (200, 96)])
@pytest.mark.parametrize("bounds", [(64, 1024), (600, 20000)])
def test_pixels_and_grids_are_those_of_the_image_processor(folder, size, bounds):
    shown = picture(3, *size)
    reader = picture_reader(folder, load_config(folder), ChatSettings(min_pixels=bounds[0], max_pixels=bounds[1]))
    (own,) = reader.of([shown])
    plain = {name: value for name, value in PROCESSOR.items() if name not in ("image_processor_type", "size")}
    edges = dict(zip(("shortest_edge", "longest_edge"), bounds, strict=True))
    theirs = Qwen2VLImageProcessorPil(size=edges, **plain)(images=[shown.image()], return_tensors="pt")
    assert list(own.grid) == theirs["image_grid_thw"][0].tolist()
    assert torch.equal(own.load(), theirs["pixel_values"])
    # What vLLM is given is of a size that it leaves alone.
    again = Qwen2VLImageProcessorPil(size=edges, **plain)(images=[reader.resized(shown)], return_tensors="pt")
    assert torch.equal(own.load(), again["pixel_values"])


def test_no_levels_of_the_tower_need_be_added_to_the_text(changed):
    folder = changed("config.json", vision_config__deepstack_visual_indexes=[])
    load_tokenizer(folder)
    assert load_config(folder).vision_config.deepstack_visual_indexes == []


def test_an_image_processor_without_sizes_is_refused_until_the_run_has_them(changed):
    """transformers' own least size would enlarge a toy's pictures to 56 x 56, and nothing would say so."""
    folder = changed("preprocessor_config.json", size={})
    with pytest.raises(UserError, match=r"set chat\.min_pixels and chat\.max_pixels"):
        picture_reader(folder, load_config(folder), ChatSettings())
    bounded = picture_reader(folder, load_config(folder), ChatSettings(min_pixels=64, max_pixels=576))
    assert bounded.of([picture(1)])[0].tokens == 9


def test_bounds_that_exclude_each_other_and_extreme_pictures_are_refused(folder):
    with pytest.raises(UserError, match="at least 2000 and at most 1024 pixels"):
        picture_reader(folder, load_config(folder), ChatSettings(min_pixels=2000))
    reader = picture_reader(folder, load_config(folder), ChatSettings())
    with pytest.raises(UserError, match="aspect ratio"):
        reader.of([picture(1, 8 * 201, 8)])


def test_a_prompt_has_each_picture_where_its_question_shows_it(folder):
    tokenizer, config = load_tokenizer(folder), load_config(folder)
    reader = picture_reader(folder, config, ChatSettings())
    one, two = picture(1), picture(2, 32, 24)
    problem = pictured_problem(0, one, two, question="17")
    prompt = encode_messages(
        tokenizer, student_messages(problem, training=True), ChatSettings(), problem_pictures(problem, reader)
    )
    start, end, pad = tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>", "<|image_pad|>"])
    places = [i for i, token in enumerate(prompt) if token == start]
    assert prompt[places[0] : places[1]] == (start, *[pad] * 9, end)
    assert prompt[places[1] :][:14] == (start, *[pad] * 12, end)
    assert tokenizer.decode([i for i in prompt if i != pad]) == (
        f"<|im_start|>user\nProblem: {'<|vision_start|><|vision_end|>' * 2}17\n\n{INSTRUCTION}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    swapped = encode_messages(
        tokenizer, student_messages(problem, training=True), ChatSettings(), reader.of([two, one])
    )
    assert keyed(swapped) != keyed(prompt)


def test_pictures_without_a_place_and_places_without_a_picture_are_refused(folder):
    tokenizer = load_tokenizer(folder)
    reader = picture_reader(folder, load_config(folder), ChatSettings())
    with pytest.raises(UserError, match="0 times <image> for 1 pictures"):
        encode_messages(tokenizer, [Message("user", "17?")], ChatSettings(), reader.of([picture(1)]))
    problem = pictured_problem(0, picture(1))
    with pytest.raises(UserError, match="the model reads none"):
        problem_pictures(problem, None)
    for spelt, pictures in (("<|image_pad|>", ()), ("<|video_pad|>", (picture(1),))):
        marked = pictured_problem(0, *pictures, question=f"What is {spelt}?")
        for asked in (marked, replace(pictured_problem(0), messages=(Message("user", marked.problem),))):
            with pytest.raises(UserError, match=r"cells/0: its text has <\|.*_pad\|>, .* picture or video"):
                problem_pictures(asked, reader)
        assert not pictures or problem_pictures(replace(problem, problem="<image> <|vision_start|>"), reader)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|image_pad|>", "")
    with pytest.raises(UserError, match="wrote 0 image tokens"):
        encode_messages(tokenizer, student_messages(problem, training=True), ChatSettings(), reader.of(problem.images))


def test_the_fake_is_what_its_folder_is(folder):
    tokenizer = vision_tokenizer()
    assert load_tokenizer(folder).get_vocab() == tokenizer.get_vocab()
    assert vision_reader(vision_model(tokenizer)).bounds == (64, 1024)
