#!/usr/bin/env python3
"""Makes small BERT classifiers whose weights come as published ones do, and records the logits that transformers gives.

Needs: pip install torch "transformers>=5" safetensors (torch 2.15 and transformers 5.24 made the files that are here)

Writes weights/NAME/ beside this script, each with config.json, its weights and logits.json: the ids and types of a few
sequences, and the logits of each.
"""
import json
import os
import shutil

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification, set_seed

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights")


def classifier(seed, **sizes):
    set_seed(seed)
    sizes = {"vocab_size": 48, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 32, **sizes}
    model = BertForSequenceClassification(BertConfig(num_labels=3, initializer_range=0.15, **sizes)).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1:
                p.add_(0.1 * torch.randn_like(p))
    return model


def inputs(vocab):
    generator = torch.Generator().manual_seed(7)
    for length in (1, 2, 5, 11, 23, 32):
        ids = torch.randint(vocab, (1, length), generator=generator)
        types = (torch.arange(length)[None] > length // 2).long()
        yield ids, types


def write(name, model, save):
    directory = os.path.join(HERE, name)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    config = {**model.config.to_diff_dict(), "architectures": ["BertForSequenceClassification"]}
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file, indent=1, sort_keys=True)
        file.write("\n")
    save(directory, model.state_dict())  # an OrderedDict with an attribute, as save_pretrained used to save
    # What transformers itself makes of the files, in float32.
    loaded, info = BertForSequenceClassification.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    rows = []
    with torch.no_grad():
        for ids, types in inputs(model.config.vocab_size):
            logits = loaded.eval()(input_ids=ids, token_type_ids=types).logits[0].tolist()
            rows.append({"ids": ids[0].tolist(), "types": types[0].tolist(), "logits": logits})
    with open(os.path.join(directory, "logits.json"), "w") as file:
        json.dump(rows, file)
        file.write("\n")


def to(directory):
    return os.path.join(directory, "pytorch_model.bin")


def legacy(directory, tensors):
    torch.save(tensors, to(directory), _use_new_zipfile_serialization=False)


def shared(directory, tensors):
    """Query, key and value are slices of one storage, and the feed-forward matrices views that are not row-major."""
    tensors = dict(tensors)
    for layer in range(2):
        stem = f"bert.encoder.layer.{layer}."
        names = [f"{stem}attention.self.{part}.weight" for part in ("query", "key", "value")]
        whole = torch.cat([tensors[name] for name in names])
        for name, part in zip(names, whole.split(whole.shape[1])):
            tensors[name] = part
        for part in ("intermediate", "output"):
            name = f"{stem}{part}.dense.weight"
            tensors[name] = tensors[name].t().contiguous().t()
    torch.save(tensors, to(directory))


def sharded(directory, tensors):
    files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    place = {name: files[i % 2] for i, name in enumerate(sorted(tensors))}
    for file in files:
        torch.save({name: tensors[name] for name in tensors if place[name] == file}, os.path.join(directory, file))
    with open(to(directory) + ".index.json", "w") as file:
        json.dump({"metadata": {}, "weight_map": place}, file, indent=0)
        file.write("\n")


def main():
    write("zip", classifier(1), lambda directory, tensors: torch.save(tensors, to(directory)))
    write("legacy", classifier(2), legacy)
    write("bf16", classifier(3), lambda d, tensors: torch.save({k: v.bfloat16() for k, v in tensors.items()}, to(d)))
    write("shared", classifier(4), shared)
    write("sharded", classifier(5), sharded)
    head26 = classifier(6, hidden_size=104, num_attention_heads=4, intermediate_size=40)
    half = lambda d, tensors: save_file({k: v.half() for k, v in tensors.items()}, d + "/model.safetensors", {"format": "pt"})
    write("head26", head26, half)


if __name__ == "__main__":
    main()
