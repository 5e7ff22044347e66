import pytest
from transformers import Gemma3Config, Gemma3TextConfig, GPT2Config, LlamaConfig, MambaConfig, MptConfig, Phi3Config

from selfdistill.scoring.lengths import (
    length_of_dense_attention,
    length_of_fixed_rotation,
    position_count,
    vocabulary_size,
)

LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 48, "long_factor": [4.0] * 48, "rope_theta": 1e4}


def llama(positions, **rope):
    parameters = {"rope_theta": 1e4, **rope} if rope else None
    return LlamaConfig(max_position_embeddings=positions, rope_parameters=parameters)


@pytest.mark.parametrize(
    ("config", "positions", "fixed"),
    [
        (llama(150), 150, None),
        # As model cards tell to add it, and as it stands where the product is in the config already.
        (llama(150, rope_type="yarn", factor=4.0, original_max_position_embeddings=150), 600, None),
        (llama(600, rope_type="yarn", factor=4.0, original_max_position_embeddings=150), 600, None),
        (llama(160, rope_type="yarn", factor=4.0), 640, None),
        (llama(100, rope_type="linear", factor=2.0), 200, None),
        (llama(100, rope_type="dynamic", factor=2.0), 100, 100),
        (
            llama(
                1000,
                rope_type="llama3",
                factor=32.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=100,
            ),
            1000,
            None,
        ),
        (
            Phi3Config(
                max_position_embeddings=4000, original_max_position_embeddings=500, rope_parameters=dict(LONGROPE)
            ),
            4000,
            500,
        ),
        (GPT2Config(n_positions=70), 70, None),
        (MptConfig(max_seq_len=80), 80, None),
        (MambaConfig(), None, None),
        (
            Gemma3Config(
                text_config=Gemma3TextConfig(
                    max_position_embeddings=900,
                    rope_parameters={
                        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                    },
                )
            ),
            900,  # the layers with windows are not stretched
            None,
        ),
    ],
    ids=lambda each: type(each).__name__,
)
def test_positions_and_where_rotations_stop_being_fixed(config, positions, fixed):
    assert position_count(config) == positions
    assert length_of_fixed_rotation(config) == fixed


def test_a_vocabulary_is_found_in_a_config_of_text_and_images():
    assert vocabulary_size(Gemma3Config(text_config=Gemma3TextConfig(vocab_size=77))) == 77


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, None), ({"index_topk": 64}, 64), ({"compress_rates": {"a": 4, "b": 128}}, 3), ({"keep_window_size": 9}, 9)],
)
def test_where_keys_are_chosen_or_compressed(fields, expected):
    assert length_of_dense_attention(LlamaConfig(**fields)) == expected
