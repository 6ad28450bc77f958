#!/usr/bin/env python3
"""Factors of the learning rate by transformers' own schedules. `make_schedules.py` writes schedules.json beside itself."""
import json
import pathlib

import torch
from transformers import get_scheduler

cases = []
for warmup, steps in ((0, 7), (2, 8), (5, 40)):
    for name, ours, floor in (
        ("linear", "linear", 0.0),
        ("constant_with_warmup", "constant", 0.0),
        ("cosine", "cosine", 0.0),
        ("cosine_with_min_lr", "cosine", 0.1),
    ):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        extra = {"scheduler_specific_kwargs": {"min_lr_rate": floor}} if floor else {}
        scheduler = get_scheduler(name, optimizer, warmup, None if name.startswith("constant") else steps, **extra)
        factor = scheduler.lr_lambdas[0]
        cases.append({"schedule": ours, "floor": floor, "warmup": warmup, "steps": steps,
                      "factors": [factor(t) for t in range(steps)]})

path = pathlib.Path(__file__).with_name("schedules.json")
path.write_text(json.dumps(cases) + "\n")
