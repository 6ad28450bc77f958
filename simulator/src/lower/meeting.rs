//! Where paths of a graph meet again: immediate post-dominators, found on the reversed graph by the iteration of
//! Cooper, Harvey and Kennedy.
//!
//! A loop that nothing leaves but exits never reaches the function's end, so nothing in it would have a post-dominator.
//! It gets an edge from a point of its own, through which all paths back to its head go, to the end: as if the loop
//! could end between two rounds. Lanes that part within a round then meet within it, or before the next.

/// The meeting point of each node's paths to `end`, if the end can be reached from it.
pub fn meeting_points(successors: &[Vec<usize>], end: usize) -> Vec<Option<usize>> {
    let nodes = successors.len();
    let mut graph = successors.to_vec();
    // Which node each one added stands before.
    let mut heads = Vec::new();
    while let Some(head) = endless_loop(&graph, end, &heads) {
        let latch = graph.len();
        let back = back_edges(&graph, head);
        for from in back {
            graph[from].iter_mut().filter(|to| **to == head).for_each(|to| *to = latch);
        }
        graph.push(vec![head, end]);
        heads.push(head);
    }
    let meet = post_dominators(&graph, end);
    meet[..nodes].iter().map(|&m| m.map(|m| if m < nodes { m } else { heads[m - nodes] })).collect()
}

/// Blocks in post-order of a walk over `edges` from `root`, without recursion: functions can be long.
fn post_order(edges: &[Vec<usize>], root: usize) -> Vec<usize> {
    let mut seen = vec![false; edges.len()];
    let mut order = Vec::new();
    walk(edges, root, &mut seen, |event| {
        if let Event::Left(node) = event {
            order.push(node);
        }
    });
    order
}

enum Event {
    /// An edge to a node that is on the path from the root.
    Back {
        to: usize,
    },
    Left(usize),
}

fn walk(edges: &[Vec<usize>], root: usize, seen: &mut [bool], mut visit: impl FnMut(Event)) {
    let mut on_path = vec![false; edges.len()];
    let mut stack = vec![(root, 0)];
    (seen[root], on_path[root]) = (true, true);
    while let Some((node, next)) = stack.pop() {
        let Some(&other) = edges[node].get(next) else {
            on_path[node] = false;
            visit(Event::Left(node));
            continue;
        };
        stack.push((node, next + 1));
        if on_path[other] {
            visit(Event::Back { to: other });
        }
        if !std::mem::replace(&mut seen[other], true) {
            on_path[other] = true;
            stack.push((other, 0));
        }
    }
}

fn reversed(graph: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut edges = vec![Vec::new(); graph.len()];
    for (node, next) in graph.iter().enumerate() {
        next.iter().for_each(|&s| edges[s].push(node));
    }
    edges
}

/// The head of the outermost loop from which the end cannot be reached.
fn endless_loop(graph: &[Vec<usize>], end: usize, known: &[usize]) -> Option<usize> {
    let mut reaches = vec![false; graph.len()];
    post_order(&reversed(graph), end).into_iter().for_each(|node| reaches[node] = true);
    let mut heads = vec![false; graph.len()];
    let mut seen = vec![false; graph.len()];
    let mut order = Vec::new();
    walk(graph, 0, &mut seen, |event| match event {
        Event::Back { to } => heads[to] = true,
        Event::Left(node) => order.push(node),
    });
    // What is left last was entered first.
    order.into_iter().rev().find(|&node| heads[node] && !reaches[node] && !known.contains(&node))
}

/// The nodes with an edge back to the head of a loop: those from which it is entered again.
fn back_edges(graph: &[Vec<usize>], head: usize) -> Vec<usize> {
    let mut within = vec![false; graph.len()];
    post_order(graph, head).into_iter().for_each(|node| within[node] = true);
    (0..graph.len()).filter(|&node| within[node] && graph[node].contains(&head)).collect()
}

fn post_dominators(graph: &[Vec<usize>], end: usize) -> Vec<Option<usize>> {
    let order = post_order(&reversed(graph), end);
    let mut rank = vec![usize::MAX; graph.len()];
    order.iter().enumerate().for_each(|(i, &b)| rank[b] = i);
    let mut meet = vec![None; graph.len()];
    meet[end] = Some(end);
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order.iter().rev().filter(|&&b| b != end) {
            let mut new = None;
            for &next in graph[block].iter().filter(|&&s| meet[s].is_some()) {
                new = Some(new.map_or(next, |other| intersect(&meet, &rank, other, next)));
            }
            changed |= meet[block] != new;
            meet[block] = new;
        }
    }
    meet[end] = None;
    meet
}

fn intersect(meet: &[Option<usize>], rank: &[usize], mut a: usize, mut b: usize) -> usize {
    while a != b {
        let (low, high) = if rank[a] < rank[b] { (&mut a, b) } else { (&mut b, a) };
        // Climbing stays inside the tree: every node met here has a meeting point, the end its own.
        *low = meet[*low].unwrap_or(high);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::meeting_points;

    #[test]
    fn branches_meet_and_dead_ends_do_not_count() {
        // 0 parts to 1 and 2, which meet in 3; 2 may also trap in 4.
        let graph = [vec![1, 2], vec![3], vec![3, 4], vec![5], vec![], vec![]];
        assert_eq!(meeting_points(&graph, 5), [Some(3), Some(3), Some(3), Some(5), None, None]);
    }

    #[test]
    fn lanes_meet_within_a_loop_that_only_exits_leave() {
        // 0 → 1; the loop 1 → {2, 3}, 2 → 3, 3 → 4, 4 → {1, 5}, 5 → 1; 6, the end, is reached by exits alone.
        let graph = [vec![1], vec![2, 3], vec![3], vec![4], vec![1, 5], vec![1], vec![]];
        assert_eq!(meeting_points(&graph, 6), [Some(1), Some(3), Some(3), Some(4), Some(1), Some(1), None]);
    }

    #[test]
    fn an_inner_loop_of_an_endless_one_is_left_as_ever() {
        // 1 heads the endless loop; 2 heads an inner one (2 → 3 → 2) that ends in 4.
        let graph = [vec![1], vec![2], vec![3, 4], vec![2], vec![1], vec![]];
        assert_eq!(meeting_points(&graph, 5), [Some(1), Some(2), Some(4), Some(2), Some(1), None]);
    }
}
