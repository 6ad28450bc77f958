#!/usr/bin/env python3
"""What ptxas made of the kernels, from cuobjdump: a table, and a failure where a number is worse than scripts/sass.bounds allows.

    scripts/sass.py [--arch 90]... [--tests] [--json] [FATBIN...]

Without files it takes those of `make build`, or of `make test`. For each kernel and architecture:

  registers   of a thread
  local       bytes of local memory: spills and arrays that were not kept in registers
  tensor      share of tensor-core instructions in the hot loop, in percent
  narrow      accesses to global memory of less than 16 bytes, as they stand in the code
  loop        instructions of the hot loop: of the innermost loops, the one with the most tensor-core products (with the most
              multiply-adds, where there are none)
"""

import argparse
import fnmatch
import json
import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOUNDS = ROOT / "scripts" / "sass.bounds"
NUMBERS = ("registers", "local", "tensor", "narrow")

FUNCTION = re.compile(r"^\s*Function : (\w+)")
ARCHITECTURE = re.compile(r"^arch = sm_(\w+)")
INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P[0-9T]+\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);")
USAGE_OF = re.compile(r"^\s*Function (\w+):")
USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
GLOBAL = re.compile(r"^(LDG|STG|LDGSTS|RED|ATOMG)\b")


def cuobjdump():
    nvcc = subprocess.run([ROOT / "scripts" / "fetch-nvcc.sh"], check=True, capture_output=True, text=True).stdout.strip()
    return Path(nvcc).with_name("cuobjdump")


def built(of_tests):
    # Asked of cargo: lints have a build of their own, for one architecture, and so have tests, as dependencies differ.
    what = ["test", "--workspace", "--no-run"] if of_tests else ["build"]
    build = [os.environ.get("CARGO", "cargo"), *what, "--release", "--locked", "--quiet", "--message-format=json"]
    messages = subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout.splitlines()
    ran = [m for m in map(json.loads, messages) if m["reason"] == "build-script-executed"]
    own = [Path(m["out_dir"]) for m in ran if "bertsd-cuda" in Path(m["out_dir"]).parent.name]
    return sorted(own[-1].glob("*.fatbin"))


def lines(tool, option, image, wanted):
    only = ["-arch", f"sm_{wanted}"] if wanted else []
    return subprocess.run([tool, *only, option, image], check=True, capture_output=True, text=True).stdout.splitlines()


def code(tool, image, wanted):
    """{(architecture, kernel): [(address, opcode, operands)]}"""
    found, architecture, current = {}, None, None
    for line in lines(tool, "-sass", image, wanted):
        if match := ARCHITECTURE.match(line):
            architecture = match[1]
        elif match := FUNCTION.match(line):
            current = found.setdefault((architecture, match[1]), [])
        elif current is not None and (match := INSTRUCTION.match(line)):
            current.append((int(match[1], 16), match[2], match[3]))
    return found


def usage(tool, image, wanted):
    """{(architecture, kernel): (registers, local bytes)}"""
    found, architecture, kernel = {}, None, None
    for line in lines(tool, "-res-usage", image, wanted):
        if match := ARCHITECTURE.match(line):
            architecture = match[1]
        elif match := USAGE_OF.match(line):
            kernel = match[1]
        elif match := USAGE.search(line):
            registers, stack, _, local = map(int, match.groups())
            found[architecture, kernel] = registers, stack + local
    return found


def is_tensor(opcode):
    return opcode.startswith(("HMMA", "HGMMA", "IMMA", "QGMMA", "UTCHMMA"))


def hot_loop(instructions):
    """Opcodes of the hot loop; nothing where the code has no loop."""
    places = {address: i for i, (address, _, _) in enumerate(instructions)}
    loops = []
    for i, (address, opcode, operands) in enumerate(instructions):
        target = re.search(r"0x([0-9a-f]+)", operands) if opcode.startswith("BRA") else None
        start = places.get(int(target[1], 16)) if target else None
        # A branch to itself ends the code.
        if start is not None and start < i:
            loops.append((start, i))
    innermost = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    bodies = [[opcode for _, opcode, _ in instructions[start : end + 1]] for start, end in loops]
    best = lambda bodies, wanted: max(bodies, key=lambda body: (sum(map(wanted, body)), -len(body)), default=[])
    body = best(bodies, is_tensor)
    if any(map(is_tensor, body)):
        return body
    bodies = [[opcode for _, opcode, _ in instructions[start : end + 1]] for start, end in innermost]
    return best(bodies, lambda opcode: opcode.startswith("FFMA"))


def measure(instructions, resources):
    loop = [opcode for opcode in hot_loop(instructions) if opcode != "NOP"]
    accesses = Counter(opcode for _, opcode, _ in instructions if GLOBAL.match(opcode))
    wide = sum(count for opcode, count in accesses.items() if ".128" in opcode)
    registers, local = resources
    tensor = 100 * sum(map(is_tensor, loop)) / len(loop) if loop else 0.0
    return {
        "registers": registers,
        "local": local,
        "tensor": round(tensor, 1),
        "narrow": sum(accesses.values()) - wide,
        "wide": wide,
        "loop": len(loop),
    }


def measure_image(tool, image, wanted):
    """[((architecture, kernel), numbers)] of one architecture, or of all."""
    resources, found = usage(tool, image, wanted), code(tool, image, wanted)
    return [(key, measure(instructions, resources[key])) for key, instructions in sorted(found.items())]


def read_bounds():
    """Rows of (pattern, architectures, {number: bound}, reason), in the order of the file."""
    rows = []
    for number, line in enumerate(BOUNDS.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(None, 2 + len(NUMBERS))
        if len(fields) != 3 + len(NUMBERS):
            sys.exit(f"sass: {BOUNDS.name}:{number}: a pattern, architectures, {', '.join(NUMBERS)} and a reason")
        bounds = {name: float(text) for name, text in zip(NUMBERS, fields[2:]) if text != "-"}
        rows.append((fields[0], fields[1].split(","), bounds, fields[-1]))
    return rows


def judge(rows, architecture, kernel, found):
    """What is worse than the first row that speaks of this kernel allows."""
    for pattern, architectures, bounds, reason in rows:
        if fnmatch.fnmatchcase(kernel, pattern) and ("*" in architectures or architecture in architectures):
            worse = [
                f"{name} {found[name]:g}, {'at least' if name == 'tensor' else 'at most'} {bound:g}"
                for name, bound in bounds.items()
                if (found[name] < bound if name == "tensor" else found[name] > bound)
            ]
            return [f"{text} ({reason})" for text in worse]
    return [f"no row of {BOUNDS.name} speaks of it"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", metavar="FATBIN", help="what build.rs wrote to its OUT_DIR")
    parser.add_argument("--arch", action="append", help="this architecture only, such as 90; may be given several times")
    parser.add_argument("--tests", action="store_true", help="the machine code that the tests are built with")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    arguments = parser.parse_args()
    tool, rows, table = cuobjdump(), read_bounds(), []
    images = arguments.images or built(arguments.tests)
    jobs = [(tool, image, wanted) for image in images for wanted in arguments.arch or [None]]
    with ProcessPoolExecutor() as pool:
        measured = list(pool.map(measure_image, *zip(*jobs)))
    for (architecture, kernel), found in (entry for of_image in measured for entry in of_image):
        worse = judge(rows, architecture, kernel, found)
        table.append({"arch": architecture, "kernel": kernel, **found, "worse": worse})
    if not table:
        sys.exit("sass: no machine code")
    if arguments.json:
        print(json.dumps(table, indent=1))
    else:
        print(f"{'arch':>4}  {'kernel':<52} {'registers':>9} {'local':>5} {'tensor':>6} {'narrow':>6} {'wide':>5} {'loop':>5}")
        for row in table:
            print("{arch:>4}  {kernel:<52} {registers:>9} {local:>5} {tensor:>6} {narrow:>6} {wide:>5} {loop:>5}".format(**row))
    failures = [f"sm_{row['arch']} {row['kernel']}: {text}" for row in table for text in row["worse"]]
    for failure in failures:
        print(f"sass: worse: {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
