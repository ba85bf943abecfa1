//! `resources:` of a task: what it may use of the machine. It does not know who holds it to that.

use super::Reading;
use super::fields;
use crate::keys;
use crate::syntax::Node;
use crate::unsupported::{self, Place};
use crate::workflow::Resources;

pub(super) fn read(node: &Node<'_>, cx: &mut Reading<'_, '_>) -> Resources {
    let mut resources = Resources::default();
    let sink = &mut cx.sink;
    for entry in fields::map("resources", node, sink).unwrap_or_default() {
        let (key, node) = (&*entry.key, &entry.value);
        match key {
            "memory" => resources.memory_bytes = fields::size(key, node, sink),
            "cpu" => resources.cpu = fields::number(key, node, (0.01, 1024.0), sink),
            "pids" => {
                let pids = fields::integer(key, node, (1, 1 << 22), sink);
                resources.pids = pids.and_then(|n| u32::try_from(n).ok());
            }
            _ if unsupported::key(Place::Resources, key, entry.key_span, sink) => {}
            _ => keys::unknown(entry, "the resources", &[keys::RESOURCES], sink),
        }
    }
    resources
}
