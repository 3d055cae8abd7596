//! Short forms, files, inspections and pictures.

use std::fs;
use std::path::PathBuf;

use kith_core::Seeds;
use kith_graph::{Family, Graph, Inspection, Mixing, Spec, Weights, picture, svg};

fn built(short: &str) -> (Graph, Mixing) {
    let spec = Spec::parse_short(short).expect("a short form");
    let graph = spec.build(&Seeds::new(1)).expect("a graph");
    let mixing = spec.mixing(&graph).expect("a matrix");
    (graph, mixing)
}

/// A folder of this test's own, emptied.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn from_file(file: &str) -> Spec {
    Spec { file: Some(file.to_owned()), ..Spec::default() }
}

#[test]
fn short_forms_fill_the_keys_of_the_family() {
    let spec = |text| Spec::parse_short(text).expect("a short form");
    let family = |family| Spec { family: Some(family), ..Spec::default() };
    assert_eq!(spec("ring:16"), Spec { agents: Some(16), ..family(Family::Ring) });
    assert_eq!(
        spec("exponential:16:directed"),
        Spec { agents: Some(16), directed: Some(true), ..family(Family::Exponential) }
    );
    assert_eq!(spec("torus:4x5"), Spec { rows: Some(4), columns: Some(5), ..family(Family::Torus) });
    assert_eq!(
        spec("erdos-renyi:16:0.3"),
        Spec { agents: Some(16), probability: Some(0.3), ..family(Family::ErdosRenyi) }
    );
    assert_eq!(
        spec("random-regular:16:4"),
        Spec { agents: Some(16), degree: Some(4), ..family(Family::RandomRegular) }
    );
    assert_eq!(spec("dyck"), family(Family::Dyck));
}

#[test]
fn weights_beside_a_file_go_before_those_in_it() {
    let folder = folder("weights_beside_a_file");
    fs::write(folder.join("ring.toml"), "agents = 5\nweights = 'metropolis'\n").expect("a file");
    let plain = from_file("ring.toml").resolve_file(&folder).expect("a spec");
    assert_eq!(plain, Spec { agents: Some(5), weights: Some(Weights::Metropolis), ..Spec::default() });
    let over = Spec { weights: Some(Weights::Uniform), ..from_file("ring.toml") };
    assert_eq!(over.resolve_file(&folder).expect("a spec").weights, Some(Weights::Uniform));
}

#[test]
fn a_spec_without_a_file_resolves_to_itself() {
    let spec = Spec { agents: Some(5), ..Spec::default() };
    assert_eq!(spec.resolve_file(&folder("no_file")).expect("a spec"), spec);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = folder("bad_files");
    fs::write(folder.join("typo.toml"), "family = 'ring'\nagent = 5\n").expect("a file");
    fs::write(folder.join("nested.toml"), "file = 'typo.toml'\n").expect("a file");
    let table = [
        (from_file("gone.toml"), vec!["gone.toml", "cannot read"]),
        (from_file("typo.toml"), vec!["typo.toml", "line 2", "`agents`"]),
        (from_file("nested.toml"), vec!["nested.toml", "names another file", "typo.toml"]),
        (Spec { agents: Some(5), ..from_file("typo.toml") }, vec!["key `agents`", "only `tree` and `weights`"]),
    ];
    for (spec, parts) in table {
        let said = spec.resolve_file(&folder).expect_err("a refusal").to_string();
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn an_inspection_counts_the_graph_and_checks_the_matrix() {
    let (graph, mixing) = built("star:4");
    let inspection = Inspection::new(&graph, &mixing);
    assert_eq!((inspection.vertices, inspection.edges, inspection.diameter), (4, 3, 2));
    assert_eq!((inspection.degree.min, inspection.degree.max, inspection.degree.mean), (1, 3, 1.5));
    assert!(inspection.symmetric && !inspection.directed);
    assert!((inspection.spectral_gap - 0.25).abs() < 1e-12);
    let matrix = inspection.matrix.clone().expect("a small matrix");
    assert_eq!(matrix[1], [0.25, 0.75, 0.0, 0.0]);
    let text = toml::to_string(&inspection).expect("an inspection is written");
    assert!(text.contains("spectral-gap = 0.2") && text.contains("weights = \"metropolis\""), "{text}");
}

#[test]
fn the_matrix_of_a_large_graph_is_left_out() {
    let (graph, mixing) = built("ring:33");
    assert_eq!(Inspection::new(&graph, &mixing).matrix, None);
    assert_eq!(picture(&graph, &mixing).lines().count(), 33);
}

#[test]
fn the_picture_of_a_chain_is_its_neighbours_and_its_matrix() {
    let (graph, mixing) = built("chain:3");
    let expected = "0: 1\n1: 0 2\n2: 1\n\nW (·· is 0, ██ is 0.667)\n0 ██▒▒··\n1 ▒▒▒▒▒▒\n2 ··▒▒██\n";
    assert_eq!(picture(&graph, &mixing), expected);
}

#[test]
fn the_picture_of_a_directed_ring_points_onwards() {
    let (graph, mixing) = built("ring:12:directed");
    let text = picture(&graph, &mixing);
    assert!(text.starts_with(" 0 -> 1\n") && text.contains("\n11 -> 0\n"), "{text}");
}

#[test]
fn a_drawing_has_a_vertex_an_agent_and_a_line_an_edge() {
    // A wrapped edge of a torus is two stubs: of 32 edges, 8 wrap.
    for (short, vertices, lines) in
        [("ring:16", 16, 16), ("torus:4x4", 16, 40), ("star:8", 8, 7), ("ring:1", 1, 0), ("ring:5:directed", 5, 5)]
    {
        let (graph, _) = built(short);
        let text = svg(&graph);
        let count = |part: &str| text.matches(part).count();
        assert_eq!((count("<circle"), count("<line"), count("<text")), (vertices, lines, vertices), "{short}");
        assert_eq!(count("marker-end"), usize::from(graph.is_directed()), "{short}");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n") && !text.contains("NaN"), "{short}");
    }
}
