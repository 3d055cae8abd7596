//! Every file in `topologies/` is a graph with a sound mixing matrix.

use std::collections::BTreeSet;
use std::path::Path;

use kith_core::Seeds;
use kith_graph::Spec;

#[test]
fn every_file_builds_has_a_comment_and_mixes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies");
    let mut families = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).expect("the folder topologies") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        let text = std::fs::read_to_string(folder.join(&name)).expect("a readable file");
        assert!(text.starts_with("# "), "{name} has no comment on its first line");

        let spec = Spec { file: Some(name.clone()), ..Spec::default() };
        let spec = spec.resolve_file(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        let graph = spec.build(&Seeds::new(1)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mixing = spec.mixing(&graph).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(mixing.largest_row_error() < 1e-12 && mixing.largest_column_error() < 1e-12, "{name}");
        assert_eq!(mixing.is_symmetric(), !graph.is_directed(), "{name}");
        let gap = mixing.spectral_gap();
        assert!(gap > 0.0 && gap <= 1.0, "{name}: {gap}");
        families.insert(spec.family.unwrap_or_default().name());
    }
    assert_eq!(families.len(), 12, "one file a family: {families:?}");
}
