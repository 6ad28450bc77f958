#!/usr/bin/env python3
"""Checks that transformers makes the same of a saved model directory as this project does.

Needs: pip install torch transformers safetensors numpy
Usage: check_saved_model.py MODEL_DIR [--texts FILE.csv --text COLUMN [--text-pair COLUMN] --predictions FILE]
                            [--source SOURCE_DIR] [--max-length N] [--tolerance 1e-5]

1. AutoModelForSequenceClassification loads MODEL_DIR with no key missing, unexpected or of another shape, and every
   parameter it holds has the bits of the file; AutoTokenizer loads; the labels of config.json are consistent.
2. With --source, every encoder parameter of SOURCE_DIR that MODEL_DIR has too (names with or without "bert.",
   LayerNorm gamma/beta) has the same bits: for a model that was loaded and saved without training.
3. With --predictions, one prediction a text, in order: the logits, computed here text by text without padding, differ by
   at most --tolerance in absolute value. JSON lines have "logits" (a list), or "probabilities", and may have "input_ids",
   which must equal the tokenizer's; a CSV has the columns logit_0, logit_1, ... or probability_0, ...

It exits with 0 if all hold, with 1 and the first differences if not, with 2 if it could not check.
"""
import argparse
import csv
import json
import os
import sys

import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer

SHOWN = 5


class Unusable(Exception):
    """The inputs do not allow a check."""


def canonical(name):
    """The name that BertForSequenceClassification gives a tensor."""
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return name if name.startswith(("bert.", "classifier.")) else "bert." + name


def tensors_of(directory):
    path = os.path.join(directory, "model.safetensors")
    if not os.path.exists(path):
        raise Unusable(f"{path} is not there")
    with safe_open(path, "np") as file:
        if (file.metadata() or {}).get("format") != "pt":
            raise Unusable(f"{path} does not say that its format is pt")
        return {canonical(name): file.get_tensor(name) for name in file.keys()}


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def check_loading(directory, faults):
    model, info = AutoModelForSequenceClassification.from_pretrained(directory, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info.get(kind):
            faults.append(f"{kind}: {sorted(map(str, info[kind]))[:SHOWN]}")
    stored, state = tensors_of(directory), model.state_dict()
    parameters = {name for name, _ in model.named_parameters()}
    if set(stored) != parameters:
        faults.append(f"names that only one side has: {sorted(set(stored) ^ parameters)[:SHOWN]}")
    for name in sorted(set(stored) & parameters):
        if not same_bits(stored[name], state[name].numpy()):
            faults.append(f"{name} was not loaded as it is in the file")
    config = model.config
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        raw = json.load(file)
    names = [config.id2label[i] for i in range(config.num_labels)]
    if model.classifier.out_features != len(names) or [config.label2id[n] for n in names] != list(range(len(names))):
        faults.append(f"id2label and label2id disagree, or not with the classifier: {names}")
    if raw["architectures"] != [type(model).__name__]:
        faults.append(f"architectures is {raw['architectures']}, the model a {type(model).__name__}")
    return model.float().eval(), AutoTokenizer.from_pretrained(directory)


def check_source(directory, source, faults):
    stored, original = tensors_of(directory), tensors_of(source)
    common = sorted(name for name in set(stored) & set(original) if not name.startswith("classifier."))
    if not common:
        faults.append(f"no tensor of {source} is in {directory}")
    for name in common:
        if not same_bits(stored[name], original[name].astype(np.float32)):
            faults.append(f"{name} differs from {source}")
    return len(common)


def read_texts(path, text, pair):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for column in (text, pair):
        if column is not None and rows and column not in rows[0]:
            raise Unusable(f"{path} has no column '{column}', but {list(rows[0])}")
    return [(row[text], row[pair] if pair else None) for row in rows]


def read_predictions(path):
    """(kind, values, input_ids or None) of each line; kind is "logits" or "probabilities"."""
    with open(path, newline="", encoding="utf-8") as file:
        if path.endswith((".jsonl", ".json")):
            rows = [json.loads(line) for line in file if line.strip()]
            for number, row in enumerate(rows):
                kind = next((kind for kind in ("logits", "probabilities") if kind in row), None)
                if kind is None:
                    raise Unusable(f"{path}, line {number + 1}: neither 'logits' nor 'probabilities'")
                values = row[kind]
                yield kind, list(values.values()) if isinstance(values, dict) else values, row.get("input_ids")
            return
        reader = csv.DictReader(file)
        for kind, prefix in (("logits", "logit_"), ("probabilities", "probability_")):
            columns = [name for name in reader.fieldnames or [] if name.startswith(prefix)]
            if columns:
                for row in reader:
                    yield kind, [float(row[name]) for name in columns], None
                return
        raise Unusable(f"{path} has no columns logit_N or probability_N, but {reader.fieldnames}")


def check_predictions(model, tokenizer, texts, predictions, max_length, tolerance, faults):
    if len(texts) != len(predictions):
        faults.append(f"{len(texts)} texts, but {len(predictions)} predictions")
    worst = 0.0
    for number, ((text, pair), (kind, ours, ids)) in enumerate(zip(texts, predictions), 1):
        encoded = tokenizer(text, pair, truncation="longest_first", max_length=max_length, padding=False, return_tensors="pt")
        expected_ids = encoded["input_ids"][0].tolist()
        if ids is not None and ids != expected_ids:
            faults.append(f"text {number}: ids {ids[:12]}..., transformers {expected_ids[:12]}...")
        with torch.no_grad():
            theirs = model(**encoded).logits[0]
        if kind == "probabilities":
            theirs = torch.softmax(theirs.double(), -1)
        theirs, ours = theirs.double().numpy(), np.asarray(ours, dtype=np.float64)
        if ours.shape != theirs.shape:
            faults.append(f"text {number}: {ours.size} values, transformers {theirs.size}")
            continue
        difference = float(np.abs(ours - theirs).max())
        worst = max(worst, difference) if np.isfinite(difference) else float("inf")
        if not difference <= tolerance:
            faults.append(f"text {number}: {kind} {ours.tolist()}, transformers {theirs.tolist()}")
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("--source")
    parser.add_argument("--texts")
    parser.add_argument("--text", default="text")
    parser.add_argument("--text-pair")
    parser.add_argument("--predictions")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    a = parser.parse_args()
    if (a.texts is None) != (a.predictions is None):
        parser.error("--texts and --predictions go together")

    faults = []
    model, tokenizer = check_loading(a.model_dir, faults)
    print(f"{a.model_dir}: loaded, {sum(w.numel() for w in model.parameters())} parameters, {model.config.num_labels} labels")
    if a.source:
        print(f"{check_source(a.model_dir, a.source, faults)} tensors compared with {a.source}")
    if a.predictions:
        texts, predictions = read_texts(a.texts, a.text, a.text_pair), list(read_predictions(a.predictions))
        length = min(a.max_length, model.config.max_position_embeddings)
        worst = check_predictions(model, tokenizer, texts, predictions, length, a.tolerance, faults)
        with_ids = sum(ids is not None for _, _, ids in predictions)
        print(f"{len(predictions)} predictions, {with_ids} with ids; largest difference {worst:.3g}")
    for fault in faults[:SHOWN]:
        print(f"FAULT {fault}")
    if len(faults) > SHOWN:
        print(f"... and {len(faults) - SHOWN} more")
    print("differs" if faults else "agrees")
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Unusable, OSError, json.JSONDecodeError) as error:
        print(f"cannot check: {error}", file=sys.stderr)
        sys.exit(2)
