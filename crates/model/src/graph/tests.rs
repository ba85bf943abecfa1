//! Cycles and ancestors of random graphs against petgraph.

use petgraph::algo::{has_path_connecting, tarjan_scc};
use petgraph::graph::{DiGraph, NodeIndex};
use proptest::prelude::*;

use super::*;

fn graphs() -> impl Strategy<Value = Vec<Vec<TaskIndex>>> {
    (1usize..30).prop_flat_map(|count| {
        let list = prop::collection::btree_set(0..count as TaskIndex, 0..3);
        prop::collection::vec(list, count).prop_map(|lists| {
            let keep = |(n, list): (usize, std::collections::BTreeSet<TaskIndex>)| {
                list.into_iter().filter(|d| *d as usize != n).collect::<Vec<_>>()
            };
            lists.into_iter().enumerate().map(keep).collect()
        })
    })
}

proptest! {
    #[test]
    fn one_cycle_per_component_and_only_its_members(lists in graphs()) {
        let dependencies = Neighbours::new(lists.iter().cloned());
        let dependents = dependencies.reversed();
        let order = order(&dependencies, &dependents);
        let mut oracle = DiGraph::<(), ()>::new();
        lists.iter().for_each(|_| { oracle.add_node(()); });
        for (n, list) in lists.iter().enumerate() {
            list.iter().for_each(|d| { oracle.add_edge(NodeIndex::new(*d as usize), NodeIndex::new(n), ()); });
        }
        let knots: Vec<_> = tarjan_scc(&oracle).into_iter().filter(|members| members.len() > 1).collect();
        let cycles = cycles(&dependents, &order);
        prop_assert_eq!(cycles.len(), knots.len());
        prop_assert_eq!(order.tasks.len() == lists.len(), knots.is_empty());
        for cycle in &cycles {
            let knot = knots.iter().find(|knot| knot.contains(&NodeIndex::new(cycle[0] as usize)));
            let knot = knot.expect("a cycle lies in a component");
            prop_assert!(cycle.iter().all(|task| knot.contains(&NodeIndex::new(*task as usize))));
            for (n, task) in cycle.iter().enumerate() {
                let next = cycle[(n + 1) % cycle.len()];
                prop_assert!(lists[next as usize].contains(task), "{:?}", cycle);
            }
        }
        let all: Vec<_> = (0..lists.len() as TaskIndex).flat_map(|a| (0..lists.len() as TaskIndex).map(move |b| (a, b))).collect();
        let no = non_ancestors(&all, &dependencies, &order);
        for (n, (task, ancestor)) in all.iter().enumerate() {
            let is_ordered = order.tasks.contains(task) && order.tasks.contains(ancestor);
            let connected = has_path_connecting(&oracle, NodeIndex::new(*ancestor as usize), NodeIndex::new(*task as usize), None);
            let expected = is_ordered && (task == ancestor || !connected);
            prop_assert_eq!(no.contains(&n), expected, "{} {}", task, ancestor);
        }
    }
}

#[test]
fn ancestors_over_many_batches() {
    let count: TaskIndex = 300;
    let dependencies = Neighbours::new((0..count).map(|n| n.checked_sub(1)));
    let order = order(&dependencies, &dependencies.reversed());
    let questions: Vec<_> = (0..count).flat_map(|task| (0..count).map(move |other| (task, other))).collect();
    let no = non_ancestors(&questions, &dependencies, &order);
    let expected: Vec<_> = (0..questions.len()).filter(|n| questions[*n].1 >= questions[*n].0).collect();
    assert_eq!(no, expected);
}
