#!/usr/bin/env python3
"""Golden traces of further teachers over the models and batches that make_golden.py made.

Needs: pip install torch transformers safetensors numpy
Usage: make_teachers.py DIR, which has model/, batches.safetensors and trace.json; it writes DIR/teachers.json.

With the settings of DIR/trace.json, and its forms:
sda_zero   L = CE + lambda * mean(logits(theta_t)^2) at every step
sda_4of2   L = CE + lambda * MSE(logits(theta_t), logits(mean of the newest two of theta_j with j even, j < t)),
           no distillation at t = 0; the teacher is in eval mode
rdrop      L = (CE(z1) + CE(z2)) / 2 + lambda * (KL(p1 || p2) + KL(p2 || p1)) / 2, means over the batch (Wu et al. 2021).
           Without dropout two passes would be the same, so z2 is of the batch of step t + 1 (of step 0 after the last),
           both with the labels of batch t: the gradient flows through both
"""
import copy, json, sys
import torch
from safetensors.torch import load_file
from transformers import BertForSequenceClassification

directory = sys.argv[1]
args = json.load(open(f"{directory}/trace.json"))["args"]
torch.use_deterministic_algorithms(True)
initial = BertForSequenceClassification.from_pretrained(f"{directory}/model").float()
batches = load_file(f"{directory}/batches.safetensors")


def logits_of(model, t):
    return model(input_ids=batches["input_ids"][t], attention_mask=batches["attention_mask"][t],
                 token_type_ids=batches["token_type_ids"][t]).logits


def rate(t):
    if t < args["warmup"]:
        return t / args["warmup"]
    return max(0.0, (args["steps"] - t) / max(1, args["steps"] - args["warmup"]))


def run(target_of):
    student, teacher = copy.deepcopy(initial).train(), copy.deepcopy(initial).eval()
    groups = []
    for head in (False, True):
        for decay in (0.01, 0.0):
            params = [w for n, w in student.named_parameters()
                      if n.startswith("classifier") == head and ("bias" in n or "LayerNorm" in n) == (decay == 0.0)]
            groups.append(dict(params=params, weight_decay=decay, base=args["lr_head"] if head else args["lr"]))
    optimizer = torch.optim.AdamW(groups, lr=args["lr"], betas=(0.9, 0.999), eps=1e-8)
    past, trace = [], []
    for t in range(args["steps"]):
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * rate(t)
        logits = logits_of(student, t)
        ce = torch.nn.functional.cross_entropy(logits, batches["labels"][t])
        if target_of is None:
            twin = logits_of(student, (t + 1) % args["steps"])
            ce = (ce + torch.nn.functional.cross_entropy(twin, batches["labels"][t])) / 2
            one, two = (torch.nn.functional.log_softmax(z, -1) for z in (logits, twin))
            divergence = torch.nn.functional.kl_div
            distill = (divergence(two, one, reduction="batchmean", log_target=True)
                       + divergence(one, two, reduction="batchmean", log_target=True)) / 2
        else:
            with torch.no_grad():
                target = target_of(t, logits, past, teacher)
            distill = torch.zeros(()) if target is None else torch.nn.functional.mse_loss(logits, target)
        optimizer.zero_grad()
        (ce + args["lam"] * distill).backward()
        norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        past.append({n: w.detach().clone() for n, w in student.named_parameters()})
        optimizer.step()
        trace.append(dict(step=t, lr=args["lr"] * rate(t), lr_head=args["lr_head"] * rate(t), ce=ce.item(),
                          distill=distill.item(), grad_norm=norm.item()))
    return trace


def zero(t, logits, past, teacher):
    return torch.zeros_like(logits)


def sparse(size, every):
    def target(t, logits, past, teacher):
        taken = past[::every][-size // every:]
        if not taken:
            return None
        for n, w in teacher.named_parameters():
            w.copy_(sum(snapshot[n] for snapshot in taken) / len(taken))
        return logits_of(teacher, t)
    return target


traces = {"sda_zero": run(zero), "sda_4of2": run(sparse(4, 2)), "rdrop": run(None)}
json.dump(dict(traces=traces), open(f"{directory}/teachers.json", "w"), indent=1)
print({name: round(trace[-1]["ce"], 5) for name, trace in traces.items()})
