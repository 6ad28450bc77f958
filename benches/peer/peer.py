#!/usr/bin/env python3
"""Times bertsd-cuda's training against a plain transformers + torch.optim.AdamW loop, alternately, in one run.

Usage: peer.py [--rounds 3] [--steps 16] [--long-steps 4] [--threads N] [--cases ft,sda,long,tokenize] [--no-assert]
               [--binary FILE] [--tokenizer-binary FILE] [--model DIR] [--work DIR]
               [--attention sdpa|eager] [--adamw default|fused]

What is compared, how it is timed, and what the targets are: README.md beside this file. Run by `make bench-peer`.
Exit status: 0 all targets met (or --no-assert), 1 a target missed, 2 it could not measure.
"""
import argparse
import csv
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEED, LR, HEAD_LR, WEIGHT_DECAY, CLIP, WARMUP_SHARE = 42, 2e-5, 1e-3, 0.01, 1.0, 0.1
WINDOW, LAMBDA = 5, 1.0
POLL_SECONDS = 0.005  # error of a timestamp, out of seconds measured

# name: method, sequences, shortest and longest length in tokens, steps to drop, least ratio of tokens/s
CASES = {
    "ft": ("ft", 32, 16, 64, 3, 1.8),
    "sda": ("sda", 32, 16, 64, WINDOW + 1, 1.8),  # by then the window is full
    "long": ("ft", 8, 512, 512, 1, 2.2),
}
MOST_MEMORY, MOST_SDA_COST, LEAST_TOKENIZING = 0.5, 1.40, 1.0
TOKENIZING_REPEATS = 5


class Unmeasurable(Exception):
    """Something that has to be there is not, or a process failed."""


# --- the workload, read by both sides from the same file in the same order -------------------------------------------------


def write_workload(path, model, case, steps):
    """A CSV whose texts are words of the vocabulary, each one token, so that a text of n words has n + 2 tokens."""
    _, sequences, shortest, longest, _, _ = CASES[case]
    with open(model / "vocab.txt", encoding="utf-8") as file:
        words = [word for word in file.read().split("\n") if re.fullmatch(r"[a-z]{3,}", word)]
    if len(words) < 1000:
        raise Unmeasurable(f"{model}/vocab.txt holds only {len(words)} plain words")
    draw = random.Random(SEED)
    lengths = []
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(steps * sequences):
            length = draw.randint(shortest, longest)
            lengths.append(length)
            writer.writerow([" ".join(draw.choices(words, k=length - 2)), ("negative", "positive")[row % 2]])
    return [sum(lengths[i : i + sequences]) for i in range(0, len(lengths), sequences)]


# --- running one side in a process of its own ------------------------------------------------------------------------------


def run_child(command, environment, log, metrics, steps):
    """Runs a process; returns (time of each step's line in `metrics`, peak resident bytes, the lines).

    The clock is this process's, for both sides: a step ends when its line is in the file. The peak is the kernel's own
    count of the process (ru_maxrss).
    """
    metrics.unlink(missing_ok=True)
    times, lines, done = [], [], threading.Event()

    def watch():
        offset, rest = 0, b""
        while True:
            last = done.is_set()
            size = metrics.stat().st_size if metrics.exists() else 0
            if size > offset:
                now = time.perf_counter()
                with open(metrics, "rb") as file:
                    file.seek(offset)
                    chunk = file.read(size - offset)
                offset += len(chunk)
                *whole, rest = (rest + chunk).split(b"\n")
                for line in map(json.loads, whole):
                    if line["event"] == "step":
                        times.append(now)
                        lines.append(line)
            if last:
                return
            time.sleep(POLL_SECONDS)

    watcher = threading.Thread(target=watch)
    with open(log, "wb") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    done.set()
    watcher.join()
    if child.returncode != 0:
        tail = Path(log).read_text(encoding="utf-8", errors="replace")[-2000:]
        raise Unmeasurable(f"{' '.join(map(str, command))}\nexit status {child.returncode}; the end of {log}:\n{tail}")
    if [line["step"] for line in lines] != list(range(1, steps + 1)):
        raise Unmeasurable(f"{metrics} holds {len(lines)} steps, not {steps}")
    unit = 1 if sys.platform == "darwin" else 1024
    return times, usage.ru_maxrss * unit, lines


def ours_command(a, case, table, steps, out):
    method, sequences, _, longest, _, _ = CASES[case]
    command = [a.binary, "train", "--model", a.model, "--train", table, "--text", "text", "--label", "label"]
    command += ["--order", "file", "--batch-size", sequences, "--max-steps", steps, "--max-length", longest]
    command += ["--method", method, "--lr", LR, "--head-lr", HEAD_LR, "--weight-decay", WEIGHT_DECAY, "--clip", CLIP]
    command += ["--warmup", WARMUP_SHARE, "--seed", SEED, "--device", "cpu", "--threads", a.threads, "--log-every", 1]
    command += ["--keep-checkpoints", 0, "--token-cache", "none", "--out", out, "--overwrite"]
    if method == "sda":
        command += ["--teacher", f"window:{WINDOW}", "--lambda", LAMBDA]
    return list(map(str, command))


def torch_command(a, case, table, steps, metrics):
    command = [a.python, __file__, "--worker", case, "--table", table, "--metrics", metrics, "--worker-steps", steps]
    command += ["--model", a.model, "--threads", a.threads, "--attention", a.attention, "--adamw", a.adamw]
    return list(map(str, command))


def measure(a, case, side, table, tokens, steps, work):
    """Tokens per second over the steps that are not dropped, seconds a step, peak bytes, last cross-entropy."""
    name = f"{case}-{side}"
    environment = {**os.environ, "OMP_NUM_THREADS": str(a.threads), "RAYON_NUM_THREADS": str(a.threads)}
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    if side == "ours":
        out = work / name
        command, metrics = ours_command(a, case, table, steps, out), out / "metrics.jsonl"
    else:
        metrics = work / f"{name}.jsonl"
        command = torch_command(a, case, table, steps, metrics)
    times, peak, lines = run_child(command, environment, work / f"{name}.log", metrics, steps)
    drop = CASES[case][4]
    seconds = times[-1] - times[drop - 1]
    # A step's own clock must not tell another story than this one's.
    claimed = sum(t / line["tokens_per_s"] for t, line in zip(tokens[drop:], lines[drop:]))
    return {
        "rate": sum(tokens[drop:]) / seconds,
        "step": seconds / (steps - drop),
        "claimed": claimed / seconds,
        "peak": peak,
        "ce": [line["ce"] for line in lines],
    }


# --- the other side: what a plain user of transformers writes ---------------------------------------------------------------


def worker(a):
    import torch
    from torch.nn.functional import mse_loss
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

    torch.manual_seed(SEED)
    torch.set_num_threads(a.threads)
    method, sequences, _, longest, _, _ = CASES[a.worker]
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    kwargs = {"num_labels": 2, "attn_implementation": a.attention, "dtype": torch.float32}
    model = AutoModelForSequenceClassification.from_pretrained(a.model, **kwargs).train()
    with open(a.table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    batches = []
    for start in range(0, len(rows), sequences):
        chosen = rows[start : start + sequences]
        texts = [row["text"] for row in chosen]
        batch = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        expected = [len(text.split()) + 2 for text in texts]
        if batch["attention_mask"].sum(1).tolist() != expected:
            raise Unmeasurable("a word of the workload is not one token")
        batch["labels"] = torch.tensor([int(row["label"] == "positive") for row in chosen])
        batches.append(batch)

    def group(name):
        plain = name.endswith("bias") or "LayerNorm" in name
        return (0.0 if plain else WEIGHT_DECAY, HEAD_LR if name.startswith("classifier") else LR)

    groups = {}
    for name, parameter in model.named_parameters():
        groups.setdefault(group(name), []).append(parameter)
    groups = [{"params": p, "weight_decay": decay, "lr": lr} for (decay, lr), p in groups.items()]
    optimizer = torch.optim.AdamW(groups, fused=True if a.adamw == "fused" else None)
    steps = a.worker_steps
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP_SHARE * steps), steps)

    teacher, ring = None, deque(maxlen=WINDOW)
    if method == "sda":
        teacher = AutoModelForSequenceClassification.from_pretrained(a.model, **kwargs).train().requires_grad_(False)

    @torch.no_grad()
    def mean_of_window():
        """Loads the mean of the last states into the teacher, in place."""
        for name, parameter in teacher.named_parameters():
            parameter.copy_(ring[0][name])
            for state in itertools.islice(ring, 1, None):
                parameter.add_(state[name])
            parameter.div_(len(ring))

    with open(a.metrics, "w", encoding="utf-8") as metrics:
        for number, batch in enumerate(batches[:steps], 1):
            start = time.perf_counter()
            output = model(**batch)
            ce = loss = output.loss
            if ring:
                mean_of_window()
                with torch.no_grad():
                    inputs = {key: value for key, value in batch.items() if key != "labels"}
                    target = teacher(**inputs).logits
                loss = ce + LAMBDA * mse_loss(output.logits, target)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            if teacher is not None:
                ring.append({name: p.detach().clone() for name, p in model.named_parameters()})
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            rate = int(batch["attention_mask"].sum()) / (time.perf_counter() - start)
            line = {"event": "step", "step": number, "loss": loss.item(), "ce": ce.item(), "grad_norm": norm.item()}
            metrics.write(json.dumps({**line, "tokens_per_s": rate}) + "\n")
            metrics.flush()
    print(json.dumps({"torch": torch.__version__, "attention": model.config._attn_implementation}))


def import_only():
    """Resident bytes of a process that has only imported what the worker imports."""
    import torch  # noqa: F401
    import transformers  # noqa: F401
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: F401

    with open("/proc/self/status", encoding="ascii") as file:
        print(next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS")))


# --- tokenizing ---------------------------------------------------------------------------------------------------------


def write_texts(path):
    """Every distinct text under data/, movie reviews and both sides of the SNLI pairs, as one column."""
    texts = {}
    for table in sorted((ROOT / "data").glob("*/*.csv")):
        with open(table, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                texts.update((row[column], None) for column in ("text", "premise", "hypothesis") if column in row)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([text] for text in texts)


def tokenize_worker(a):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(a.model) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    with open(a.table, newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    for encode in (tokenizer.encode_batch, tokenizer.encode_batch_fast) * TOKENIZING_REPEATS:
        start = time.perf_counter()
        encodings = encode(texts)
        seconds = time.perf_counter() - start
        tokens = sum(len(encoding.ids) for encoding in encodings)
        print(json.dumps({"texts": len(texts), "tokens": tokens, "seconds": seconds}))


def tokenizing(a, work):
    """Ours reads the file, tokenizes and writes mapped ids; theirs has the texts in memory and is timed for
    encode_batch alone, or encode_batch_fast where that is faster."""
    table = work / "texts.csv"
    write_texts(table)
    environment = {**os.environ, "RAYON_NUM_THREADS": str(a.threads), "TOKENIZERS_PARALLELISM": "true"}
    commands = {
        "ours": [a.tokenizer_binary, a.model, table, "text", TOKENIZING_REPEATS],
        "torch": [a.python, __file__, "--worker", "tokenize", "--table", table, "--model", a.model],
    }
    best = {side: [] for side in commands}
    counts = {}
    for number in range(a.rounds):
        for side in sorted(commands, reverse=number % 2 == 1):
            done = subprocess.run(list(map(str, commands[side])), env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                raise Unmeasurable(f"{commands[side][0]}: {done.stderr[-2000:]}")
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            best[side].append(min(line["seconds"] for line in lines))
            counts[side] = (lines[0]["texts"], lines[0]["tokens"])
    if counts["ours"] != counts["torch"]:
        raise Unmeasurable(f"texts and tokens differ: ours {counts['ours']}, tokenizers {counts['torch']}")
    tokens = counts["ours"][1]
    ratio = statistics.median(theirs / ours for ours, theirs in zip(best["ours"], best["torch"]))
    rate = {side: tokens / statistics.median(seconds) for side, seconds in best.items()}
    return {"texts": counts["ours"][0], "tokens": tokens, "ratio": ratio, **rate}


# --- the run ------------------------------------------------------------------------------------------------------------


def check_losses(case, ours, theirs):
    """A process that trained on something else, or on nothing, must not pass for a fast one: losses start near ln 2."""
    for side, result in (("ours", ours), ("torch", theirs)):
        if not all(0.0 < ce < 5.0 for ce in result["ce"]):
            raise Unmeasurable(f"{case}, {side}: the losses are not those of a training run: {result['ce']}")


def workload(a, case, work):
    steps = CASES[case][4] + (a.long_steps if case == "long" else a.steps)
    table = work / f"{case}.csv"
    return table, write_workload(table, Path(a.model), case, steps), steps


def training_round(a, case, number, table, tokens, steps, work):
    """Both sides once, one right after the other; which goes first changes from round to round."""
    sides = ("ours", "torch") if number % 2 == 0 else ("torch", "ours")
    result = {side: measure(a, case, side, table, tokens, steps, work) for side in sides}
    ours, theirs = result["ours"], result["torch"]
    check_losses(case, ours, theirs)
    print(
        f"  {case:<5} round {number + 1}: ours {ours['rate']:7.0f} tokens/s {ours['step']:6.3f} s/step, "
        f"PyTorch {theirs['rate']:7.0f} tokens/s {theirs['step']:6.3f} s/step, ratio {ours['rate'] / theirs['rate']:.2f}",
        flush=True,
    )
    for side in sides:
        if not 0.9 < result[side]["claimed"] < 1.02:
            print(f"        note: {side} itself counts {result[side]['claimed']:.0%} of that time as steps")
    return result


def middle(rounds, side, what):
    return statistics.median(result[side][what] for result in rounds)


def report(a, cases, work):
    verdicts = []

    def judge(what, value, limit, at_least, unit):
        met = value >= limit if at_least else value <= limit
        verdicts.append(met)
        sign = "≥" if at_least else "≤"
        print(f"  {'met   ' if met else 'MISSED'}  {what:<58} {value:6.2f}{unit}  (target {sign} {limit:.2f}{unit})")

    workloads = {case: workload(a, case, work) for case in cases if case != "tokenize"}
    measured = {case: [] for case in workloads}
    for number in range(a.rounds):
        for case, (table, tokens, steps) in workloads.items():
            measured[case].append(training_round(a, case, number, table, tokens, steps, work))
    tokenized = tokenizing(a, work) if "tokenize" in cases else None

    print("\nMedians of the rounds; memory is the largest peak of each side:\n")
    print(f"  {'case':<42}{'bertsd-cuda':>24}{'PyTorch':>24}")
    memory = {}
    for case, rounds in measured.items():
        method, sequences, shortest, longest, _, _ = CASES[case]
        label = f"{method}, batch {sequences}, " + (f"length {longest}" if shortest == longest else f"lengths {shortest}-{longest}")
        cell = {s: f"{middle(rounds, s, 'rate'):,.0f} tokens/s" for s in ("ours", "torch")}
        print(f"  {label:<42}{cell['ours']:>24}{cell['torch']:>24}")
        memory[case] = {s: max(result[s]["peak"] for result in rounds) for s in ("ours", "torch")}
        cell = {s: f"{memory[case][s] / 2**20:,.0f} MiB" for s in ("ours", "torch")}
        print(f"  {'  peak memory':<42}{cell['ours']:>24}{cell['torch']:>24}")
    if tokenized:
        label = f"tokenizing, {tokenized['texts']:,} texts"
        print(f"  {label:<42}{tokenized['ours']:>15,.0f} tokens/s{tokenized['torch']:>15,.0f} tokens/s")
    if measured:
        imported = subprocess.run([a.python, __file__, "--worker", "import"], capture_output=True, text=True)
        if imported.returncode == 0:
            print(f"  (of PyTorch's memory {int(imported.stdout) / 2**20:,.0f} MiB are its imports)")

    print()
    for case, rounds in measured.items():
        ratio = statistics.median(result["ours"]["rate"] / result["torch"]["rate"] for result in rounds)
        judge(f"{case}: tokens/s against PyTorch", ratio, CASES[case][5], True, "×")
    for case in measured:
        judge(f"{case}: peak memory against PyTorch", memory[case]["ours"] / memory[case]["torch"], MOST_MEMORY, False, "×")
    if {"ft", "sda"} <= measured.keys():
        # Both cases draw their lengths alike but measure other steps, so the cost is taken by the token.
        pairs = zip(measured["ft"], measured["sda"])
        cost = statistics.median(ft["ours"]["rate"] / sda["ours"]["rate"] for ft, sda in pairs)
        judge("a step of sda against one of ft", cost, MOST_SDA_COST, False, "×")
        pairs = zip(measured["ft"], measured["sda"])
        cost = statistics.median(ft["torch"]["rate"] / sda["torch"]["rate"] for ft, sda in pairs)
        print(f"          {'(PyTorch: a step of sda against one of ft)':<58} {cost:6.2f}×")
    if tokenized:
        judge("tokenizing: tokens/s against Python's tokenizers", tokenized["ratio"], LEAST_TOKENIZING, True, "×")
    return all(verdicts)


def describe(a):
    script = "import torch, transformers, tokenizers; print(torch.__version__, transformers.__version__, tokenizers.__version__)"
    done = subprocess.run([a.python, "-c", script], capture_output=True, text=True)
    if done.returncode != 0:
        raise Unmeasurable(f"{a.python} lacks torch, transformers or tokenizers: {done.stderr.strip()[-500:]}")
    torch, transformers, tokenizers = done.stdout.split()
    cpu = "unknown"
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), cpu)
    load = os.getloadavg()[0]
    print(f"{cpu}, {a.threads} threads on each side, float32, dropout on, rounds: {a.rounds}")
    print(f"PyTorch {torch}, transformers {transformers} ({a.attention} attention), AdamW {a.adamw}, tokenizers {tokenizers}")
    print(f"model: {a.model}; load before the start: {load:.2f}")
    if load > 0.5:
        print("note: this machine is busy; expect noise")
    print(flush=True)


def available_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16, help="measured steps of a short case")
    parser.add_argument("--long-steps", type=int, default=4, help="measured steps of the long case")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--cases", default="ft,sda,long,tokenize")
    parser.add_argument("--no-assert", action="store_true", help="report missed targets without failing")
    parser.add_argument("--binary", default=ROOT / "target/release/bertsd-cuda")
    parser.add_argument("--tokenizer-binary", default=ROOT / "target/release/examples/tokenize")
    parser.add_argument("--model", default=ROOT / "target/demo-model")
    parser.add_argument("--work", default=ROOT / "target/peer")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa")
    parser.add_argument("--adamw", choices=("default", "fused"), default="default")
    for inner in ("--worker", "--table", "--metrics"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    parser.add_argument("--worker-steps", type=int, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.worker == "import":
        return import_only()
    if a.worker == "tokenize":
        return tokenize_worker(a)
    if a.worker:
        return worker(a)
    cases = a.cases.split(",")
    if unknown := set(cases) - CASES.keys() - {"tokenize"}:
        parser.error(f"unknown case {', '.join(unknown)}")
    if min(a.rounds, a.steps, a.long_steps) < 1:
        parser.error("at least one round and one step")
    for path in [a.binary, Path(a.model) / "vocab.txt", *([a.tokenizer_binary] if "tokenize" in cases else [])]:
        if not Path(path).exists():
            raise Unmeasurable(f"{path} is not there; run this by make bench-peer")
    work = Path(a.work)
    work.mkdir(parents=True, exist_ok=True)
    describe(a)
    met = report(a, cases, work)
    return 0 if met or a.no_assert else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Unmeasurable, OSError, ValueError) as error:
        print(f"peer.py: cannot measure: {error}", file=sys.stderr)
        sys.exit(2)
