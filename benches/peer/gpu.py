#!/usr/bin/env python3
"""PyTorch's side of a timing on a GPU: fine-tunes a BERT of random weights as a careful user would, and prints one JSON line per case.

    gpu.py --method ft --batch 32 --lengths 128 --steps 60            one case
    gpu.py --method sda --batch 32 --lengths 16:128 --compile model   mixed lengths, compiled
    gpu.py --case 32x128:ft:32:128:60:off --case 8x512:sda:8:512:60:model --seconds 90
                                                  several in one process: NAME:METHOD:BATCH:LENGTH[-LENGTH]:STEPS:COMPILE
    gpu.py --ceilings                        copy bandwidth, bf16 products at 8192 and at BERT-base's shapes
    gpu.py --device cpu --size tiny ...      a dry run

What is compared: bf16 autocast over float32 weights, SDPA, fused AdamW with two learning rates and no decay on biases and LayerNorms,
clip_grad_norm_ (foreach), linear schedule, dropout as configured; batches padded to their longest text, with a mask only where there is
padding (so that full batches get the fastest attention). sda: mean of the last five states by torch._foreach ops, the teacher's
forward under no_grad in train mode with masks of its own, mse of the logits. Batches wait in pinned memory and are copied each step;
tokenizing is outside the time. Time: events on the stream from step to step, the first --warm steps dropped, median and mean.
Tokens are real tokens; padding is not counted.
"""
import argparse
import contextlib
import json
import random
import re
import statistics
import sys
import time

SEED, LR, HEAD_LR, WEIGHT_DECAY, CLIP, WARMUP_SHARE = 42, 2e-5, 1e-3, 0.01, 1.0, 0.1
WINDOW, LAMBDA = 5, 1.0
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {  # layers, hidden, heads, feed-forward, words
    "base": (12, 768, 12, 3072, 30522),
    "large": (24, 1024, 16, 4096, 30522),
    "tiny": (2, 64, 2, 128, 400),
}
FIRST, LAST = 2, 3  # [CLS] and [SEP]


def say(**fields):
    print(json.dumps(fields), flush=True)


# --- the workload: the same texts on both sides -----------------------------------------------------------------------------


def vocabulary(words):
    return SPECIAL + [f"w{i}" for i in range(words - len(SPECIAL))]


def plain_words(vocab):
    """Numbers of the words that are one token each, whatever their tokenizer does with others."""
    return [i for i, word in enumerate(vocab) if re.fullmatch(r"[a-z]{3,}|w[0-9]+", word)]


def texts(words, batch, lengths, steps):
    """Rows of word numbers; a text of n words has n + 2 tokens."""
    draw = random.Random(SEED)
    for _ in range(batch * steps):
        length = draw.randint(*lengths)
        yield draw.choices(words, k=length - 2)


def lengths_of(text):
    ends = [int(part) for part in re.split("[:-]", text)]
    if not 1 <= len(ends) <= 2 or not 3 <= ends[0] <= ends[-1]:
        raise argparse.ArgumentTypeError(f"{text}: a length from 3, or two as in 16:128")
    return ends[0], ends[-1]


# --- models -----------------------------------------------------------------------------------------------------------------


def configuration(size):
    from transformers import BertConfig

    layers, hidden, heads, feed_forward, words = SIZES[size]
    return BertConfig(
        vocab_size=words,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=feed_forward,
        num_labels=2,
    )


# --- one case ---------------------------------------------------------------------------------------------------------------


class Clock:
    """Milliseconds between marks, taken on the device's stream without waiting for it."""

    def __init__(self, torch, device):
        self.torch, self.on_gpu, self.marks = torch, device == "cuda", []

    def mark(self):
        if self.on_gpu:
            event = self.torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def between(self):
        pairs = list(zip(self.marks, self.marks[1:]))
        if self.on_gpu:
            self.torch.cuda.synchronize()
            return [a.elapsed_time(b) for a, b in pairs]
        return [1e3 * (b - a) for a, b in pairs]


def batches_of(torch, a, case):
    vocab = vocabulary(SIZES[a.size][4])
    rows = list(texts(plain_words(vocab), case.batch, case.lengths, case.steps))
    pin = a.device == "cuda"
    for start in range(0, len(rows), case.batch):
        chosen = [[FIRST, *row, LAST] for row in rows[start : start + case.batch]]
        longest = max(map(len, chosen))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in chosen])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in chosen])
        labels = torch.arange(start, start + len(chosen)) % 2
        is_padded = min(map(len, chosen)) < longest
        tensors = {"input_ids": ids, "labels": labels} | ({"attention_mask": mask} if is_padded else {})
        yield {name: tensor.pin_memory() if pin else tensor for name, tensor in tensors.items()}, list(map(len, chosen))


def optimizer_of(torch, model):
    groups = {}
    for name, parameter in model.named_parameters():
        plain = name.endswith("bias") or "LayerNorm" in name
        key = (0.0 if plain else WEIGHT_DECAY, HEAD_LR if name.startswith("classifier") else LR)
        groups.setdefault(key, []).append(parameter)
    groups = [{"params": p, "weight_decay": decay, "lr": lr, "peak": lr} for (decay, lr), p in groups.items()]
    return torch.optim.AdamW(groups, fused=True)


def compiled(torch, model, how):
    if how == "model":
        return torch.compile(model, dynamic=False)
    if how == "graphs":
        return torch.compile(model, dynamic=False, mode="reduce-overhead")
    if how == "layers":
        for layer in model.bert.encoder.layer:
            layer.compile(dynamic=False)
    return model


def run_case(a, case):
    import torch
    import transformers
    from torch.nn.functional import cross_entropy, mse_loss

    torch.manual_seed(SEED)
    torch.set_float32_matmul_precision("high")
    started = time.perf_counter()
    config = configuration(a.size)
    with torch.device(a.device):
        model = transformers.BertForSequenceClassification(config).train()
        teacher = transformers.BertForSequenceClassification(config).train().requires_grad_(False) if case.method == "sda" else None
    parameters = list(model.parameters())
    taught = list(teacher.parameters()) if teacher is not None else []
    optimizer = optimizer_of(torch, model)
    run, run_teacher = compiled(torch, model, case.compile), None
    if teacher is not None:
        run_teacher = compiled(torch, teacher, case.compile)
    batches = list(batches_of(torch, a, case))
    if a.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    warmup = max(1, int(WARMUP_SHARE * case.steps))
    ring, oldest = [], 0
    losses = []
    clock, deadline = Clock(torch, a.device), started + case.seconds
    clock.mark()
    for t, (waiting, _) in enumerate(batches):
        batch = {name: tensor.to(a.device, non_blocking=True) for name, tensor in waiting.items()}
        labels = batch.pop("labels")
        share = min(t / warmup, (case.steps - t) / max(1, case.steps - warmup))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
        autocast = torch.autocast(a.device, torch.bfloat16)
        with autocast:
            logits = run(**batch).logits
        loss = cross_entropy(logits.float(), labels)
        total = loss
        if ring:
            with torch.no_grad():
                torch._foreach_copy_(taught, ring[0])
                for state in ring[1:]:
                    torch._foreach_add_(taught, state)
                torch._foreach_mul_(taught, 1.0 / len(ring))
                with torch.autocast(a.device, torch.bfloat16):
                    target = run_teacher(**batch).logits
                target = target.float().clone()
            total = loss + LAMBDA * mse_loss(logits.float(), target)
        total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP, foreach=True)
        if teacher is not None:
            with torch.no_grad():
                if len(ring) < WINDOW:
                    ring.append([parameter.detach().clone() for parameter in parameters])
                else:
                    torch._foreach_copy_(ring[oldest], parameters)
                    oldest = (oldest + 1) % WINDOW
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        clock.mark()
        if t % 8 == 7 and time.perf_counter() > deadline:
            break
    times = clock.between()
    ended = time.perf_counter()
    lengths = [row for _, row in batches][: len(times)]
    warm = case.warm if len(times) > case.warm + 4 else len(times) // 2
    kept = list(zip(times, lengths))[warm:]
    tokens = [length for _, row in kept for length in row]
    milliseconds = [ms for ms, _ in kept]
    rates = [1e3 * sum(row) / ms for ms, row in kept]
    padded = sum(len(row) * max(row) for _, row in kept) / sum(tokens)
    ce = [float(loss) for loss in (losses[0], losses[-1])]
    say(
        what="peer",
        case=case.name,
        method=case.method,
        compile=case.compile,
        ms=round(statistics.median(milliseconds), 4),
        ms_mean=round(statistics.fmean(milliseconds), 4),
        ms_p90=round(sorted(milliseconds)[int(0.9 * (len(milliseconds) - 1))], 4),
        tokens_per_s=round(statistics.median(rates)),
        tokens_per_s_mean=round(1e3 * sum(tokens) / sum(milliseconds)),
        batch=case.batch,
        lengths=list(case.lengths),
        steps=len(times),
        dropped=warm,
        mean_length=round(sum(n * n for n in tokens) / sum(tokens), 2),
        padded_over_real=round(padded, 4),
        peak_mib=round(torch.cuda.max_memory_allocated() / 2**20) if a.device == "cuda" else None,
        first_ce=ce[0],
        last_ce=ce[1],
        seconds=round(ended - started, 2),
        attention=model.config._attn_implementation,
        torch=torch.__version__,
        transformers=transformers.__version__,
        size=a.size,
        device=torch.cuda.get_device_name() if a.device == "cuda" else "cpu",
    )


class Case:
    def __init__(self, text, a):
        parts = text.split(":")
        if len(parts) != 6:
            raise argparse.ArgumentTypeError(f"{text}: NAME:METHOD:BATCH:LENGTH[-LENGTH]:STEPS:COMPILE")
        self.name, self.method, self.compile = parts[0], parts[1], parts[5]
        self.batch, self.lengths, self.steps = int(parts[2]), lengths_of(parts[3]), int(parts[4])
        self.warm, self.seconds = a.warm, a.seconds or 1e9
        if self.method not in ("ft", "sda") or self.compile not in ("off", "layers", "model", "graphs"):
            raise argparse.ArgumentTypeError(f"{text}: methods are ft and sda; compile is off, layers, model or graphs")


def run_cases(a):
    """All cases in turn; one that fails is reported and the next is tried. Ends when the time is up."""
    begun = time.perf_counter()
    failed = 0
    for case in a.case:
        spent = time.perf_counter() - begun
        if a.seconds and spent > a.seconds - 3:
            say(what="peer", case=case.name, method=case.method, compile=case.compile, left_out=f"{spent:.0f} s are spent")
            continue
        if a.seconds:
            case.seconds = a.seconds - spent
        try:
            run_case(a, case)
        except Exception as error:  # the next case may still work
            failed += 1
            name = type(error).__name__
            say(what="peer", case=case.name, method=case.method, compile=case.compile, error=f"{name}: {error}"[:600])
        if a.device == "cuda":
            import gc

            import torch

            gc.collect()
            with contextlib.suppress(Exception):
                torch._dynamo.reset()
            torch.cuda.empty_cache()
    return 1 if failed else 0


# --- ceilings ---------------------------------------------------------------------------------------------------------------


def microseconds(torch, calls, repeats=7):
    """Median time of one call, from replays of a graph of all `calls`, so that launches cost nothing."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for call in calls:
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        graph.replay()
        mark.record()
    torch.cuda.synchronize()
    return 1e3 * statistics.median(a.elapsed_time(b) for a, b in zip(marks, marks[1:])) / len(calls)


def ceilings(a):
    import torch

    properties = torch.cuda.get_device_properties(0)
    say(
        what="machine",
        name=properties.name,
        torch=torch.__version__,
        cuda=torch.version.cuda,
        multiprocessors=properties.multi_processor_count,
        l2_mb=round(properties.L2_cache_size / 1e6, 1),
        memory_gib=round(properties.total_memory / 2**30, 1),
    )

    def noise(*shape):
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    size = 2**30  # elements of 2 bytes
    one, two = noise(size), torch.empty(size, device="cuda", dtype=torch.bfloat16)
    took = microseconds(torch, [lambda: two.copy_(one)] * 3)
    say(what="ceiling", name="copy", us=round(took, 1), gb_s=round(4 * size / took / 1e3))
    del one, two
    x, w, y = noise(8192, 8192), noise(8192, 8192), noise(8192, 8192)
    took = microseconds(torch, [lambda: torch.mm(x, w, out=y)] * 4, 5)
    say(what="ceiling", name="8192x8192x8192", us=round(took, 1), tflop_s=round(2 * 8192**3 / took / 1e6, 1))
    del x, w, y
    torch.cuda.empty_cache()
    t = 4096
    for name, n, k in (("qkv", 2304, 768), ("out", 768, 768), ("ffn1", 3072, 768), ("ffn2", 768, 3072)):
        sets = [(noise(t, k), noise(n, k), noise(t, n)) for _ in range(4)]  # more than the cache holds
        outs = {"fwd": noise(t, n), "dx": noise(t, k), "dw": noise(n, k)}
        kinds = {
            "fwd": lambda x, w, dy: torch.mm(x, w.t(), out=outs["fwd"]),
            "dx": lambda x, w, dy: torch.mm(dy, w, out=outs["dx"]),
            "dw": lambda x, w, dy: torch.mm(dy.t(), x, out=outs["dw"]),
        }
        for kind, product in kinds.items():
            calls = [lambda s=s, product=product: product(*s) for s in sets * 4]
            took = microseconds(torch, calls)
            say(what="ceiling", name=f"{kind} {name}", us=round(took, 2), tflop_s=round(2 * t * n * k / took / 1e6, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=("ft", "sda"), default="ft")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lengths", type=lengths_of, default=(128, 128), help="one length in tokens, or SHORTEST:LONGEST")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warm", type=int, default=20, help="steps that are not counted")
    parser.add_argument("--compile", choices=("off", "layers", "model", "graphs"), default="off")
    parser.add_argument("--case", action="append", default=[], help="NAME:METHOD:BATCH:LENGTH[-LENGTH]:STEPS:COMPILE, several times")
    parser.add_argument("--seconds", type=float, help="begin no case after this, and cut one that is under way")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--ceilings", action="store_true")
    a = parser.parse_args()
    if a.ceilings:
        return ceilings(a)
    if not a.case:
        low, high = a.lengths
        lengths = str(low) if low == high else f"{low}-{high}"
        a.case = [f"{a.batch}x{lengths}:{a.method}:{a.batch}:{lengths}:{a.steps}:{a.compile}"]
    try:
        a.case = [Case(text, a) for text in a.case]
    except (argparse.ArgumentTypeError, ValueError) as error:
        parser.error(str(error))
    return run_cases(a)


if __name__ == "__main__":
    sys.exit(main())
