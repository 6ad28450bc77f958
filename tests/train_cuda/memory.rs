//! Memory on its way and memory that is planned, as only the simulator can show them.

use crate::{
    cuda_runs::{bert, on_cuda, write_model},
    gpu,
    runs::{Toy, refuse, stderr, succeed},
};

/// A copy from or to pageable memory makes the host wait for the steps before. Whatever is copied while a run begins,
/// steps do without: longer runs have no more of it.
#[test]
fn steps_copy_from_and_to_pinned_memory_only() {
    if gpu::is_there() {
        eprintln!("left out: a GPU does not say which copies its driver has staged");
        return;
    }
    let toy = Toy::new();
    for method in ["ft", "sda --teacher window:2", "sdv --teacher window:2"] {
        let copies = |steps: usize| {
            let options = format!("--method {method} --max-steps {steps} --keep-checkpoints 0 --out run --overwrite");
            let mut command = on_cuda(toy.start(&options));
            let output = stderr(&succeed(command.env("CUDASIM_CHECK", "pageable")));
            output.lines().filter(|line| line.contains("pageable check")).count()
        };
        // By the fourth step every pass has been run once, with every teacher.
        let (few, more) = (copies(4), copies(8));
        assert!(few > 0, "the weights, at least, come from memory that is not pinned");
        assert_eq!(few, more, "{method}: copies in four steps and in eight");
    }
}

/// Graphs take device memory when a pass is recorded, in the midst of training: the plan leaves room for them. The
/// simulator takes 1 KB for each launch of a graph here; the texts fall into many buckets of sizes.
#[test]
fn what_the_plan_lets_through_has_room_for_its_graphs() {
    if gpu::is_there() {
        eprintln!("left out: a GPU's memory is as large as it is");
        return;
    }
    let toy = Toy::new();
    write_model(&toy.path("bert"), bert(16, 1, 16, 256), ["neg", "pos"], (0..200).map(|i| format!("w{i}")));
    let mut table = "text,label\n".to_owned();
    for step in 0..16 {
        for i in 0..40 {
            let words = vec![format!("w{}", (7 * i + step) % 200); 3 * step + 2];
            table.push_str(&format!("{},{}\n", words.join(" "), ["neg", "pos"][i % 2]));
        }
    }
    toy.write("growing.csv", &table);
    let start = |mib: &str, batch: &str| {
        let options = "--model bert --train growing.csv --order file --epochs 1 --out run --overwrite";
        let mut command = on_cuda(toy.start(&format!("{options} --keep-checkpoints 0 --batch-size {batch}")));
        command.env("CUDASIM_CHECK", "").env("CUDASIM_MEMORY_MIB", mib).env("CUDASIM_GRAPH_NODE_BYTES", "1024");
        command
    };
    let text = refuse(&mut start("8", "40"), 1, &["in all and"]);
    let number =
        |before: &str| -> usize { text.split(before).nth(1).unwrap().split(' ').next().unwrap().parse().unwrap() };
    // Of the 8 MiB some were taken when the plan asked what is free; both numbers are rounded up. Graphs take ten times
    // what that makes of room.
    let just_enough = number("sequences need ") + 8 - number("in all and ") + 1;
    succeed(&mut start(&just_enough.to_string(), "40"));
}
