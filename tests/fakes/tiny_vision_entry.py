"""An entry of config/models.yaml for a vision toy that is made in a second."""

SMALL = {"layers": 1, "vision_layers": 1}
ENTRY = {
    "rebuild": True,
    "architecture": SMALL,
    "warm_start": {
        "cells": {
            "exercise": "cells",
            "sizes": {"0": 1, "1": 1},
            "mix": {"hinted": 0.3, "wrong_hints": 0.4, "counts": 0.2},
            "training": {
                "steps": 2,
                "batch_size": 4,
                "learning_rate": 1e-3,
                "warmup_steps": 1,
                "weight_decay": 0.0,
                "max_grad_norm": 1.0,
                "seed": 0,
            },
        }
    },
}
