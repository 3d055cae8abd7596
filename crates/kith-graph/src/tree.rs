//! Spanning trees: what a walk over a graph from agent 0 leaves of its edges.

use std::collections::VecDeque;

use kith_core::AgentId;

use crate::graph::Direction;
use crate::{Graph, GraphError, Tree};

impl Graph {
    /// The graph with those edges only over which the walk finds somebody new; of several neighbours, it takes the first by id.
    ///
    /// # Errors
    /// One-way edges: on a tree, nothing would come back.
    pub(crate) fn spanned(&self, by: Tree) -> Result<Self, GraphError> {
        if self.is_directed() {
            return Err(GraphError::DirectedTree { label: self.label().to_owned() });
        }
        let mut found = vec![false; self.agents()];
        let mut edges = Vec::with_capacity(self.agents().saturating_sub(1));
        let mut walk = VecDeque::from([AgentId(0)]);
        found[0] = true;
        let here = |walk: &VecDeque<AgentId>| match by {
            Tree::BreadthFirst => walk.front().copied(),
            Tree::DepthFirst => walk.back().copied(),
        };
        while let Some(agent) = here(&walk) {
            match self.neighbours_out(agent).iter().find(|peer| !found[peer.index()]) {
                Some(&next) => {
                    found[next.index()] = true;
                    edges.push((agent.0, next.0));
                    walk.push_back(next);
                }
                None => {
                    match by {
                        Tree::BreadthFirst => walk.pop_front(),
                        Tree::DepthFirst => walk.pop_back(),
                    };
                }
            }
        }
        let label = format!("{} tree of the {}", by.name(), self.label());
        Self::new(label, self.agents(), Direction::Undirected, self.shape(), edges)
    }
}

impl Tree {
    /// The name, as files say it.
    const fn name(self) -> &'static str {
        match self {
            Self::BreadthFirst => "breadth-first",
            Self::DepthFirst => "depth-first",
        }
    }
}
